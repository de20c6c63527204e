// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A row of the table: what a source does, and what it must come to.

use multifd_tests::by_hand::{PAGE, main_stream as stream, packet};

/// A fault of a source.
pub(crate) struct Row {
    /// What it is.
    pub(crate) name: &'static str,
    /// `multifd-compression` of the command.
    pub(crate) method: &'static str,
    /// What the source does.
    pub(crate) steps: Vec<Step>,
    recv: Option<End>,
    save: Option<End>,
    relay: Option<End>,
    /// MiB of memory that the command may take at most, all in all.
    pub(crate) memory: u64,
}

/// What a source does next. A connection is made when it is used first.
pub(crate) enum Step {
    /// Says something on a connection.
    Say(Connection, Vec<u8>),
    /// Closes a connection.
    Close(Connection),
    /// Waits until the command has closed a connection.
    AwaitEnd(Connection),
    /// Waits for the answer to a PING.
    AwaitPong,
}

/// The main connection is 0, and others are numbered as the source likes; these are the channels 0 to 2.
pub(crate) type Connection = usize;
pub(crate) const MAIN: Connection = 0;
pub(crate) const FIRST: Connection = 1;
pub(crate) const SECOND: Connection = 2;
pub(crate) const THIRD: Connection = 3;
/// One more, which may be anybody's.
pub(crate) const OTHER: Connection = 9;

/// How a command ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) code: i32,
    /// Part of what it says.
    pub(crate) says: &'static str,
}

/// The commands that a source can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `recv --ram`.
    Recv,
    /// `recv --save`.
    Save,
    /// `relay`, with a `recv --ram` behind it.
    Relay,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Recv => "recv",
            Self::Save => "recv --save",
            Self::Relay => "relay",
        }
    }
}

impl Row {
    /// A source that does nothing yet, at which every command ends alike.
    pub(crate) fn new(name: &'static str, code: i32, says: &'static str) -> Self {
        let end = Some(End { code, says });
        Self {
            name,
            method: "none",
            steps: Vec::new(),
            recv: end,
            save: end,
            relay: end,
            memory: 32,
        }
    }

    /// The command has this method.
    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// `recv --save` ends so.
    pub(crate) fn save(mut self, code: i32, says: &'static str) -> Self {
        self.save = Some(End { code, says });
        self
    }

    /// `relay` ends so.
    pub(crate) fn relay(mut self, code: i32, says: &'static str) -> Self {
        self.relay = Some(End { code, says });
        self
    }

    /// Only a relay has to do with it.
    pub(crate) fn only_relayed(mut self) -> Self {
        (self.recv, self.save) = (None, None);
        self
    }

    /// A relay has nothing to do with it.
    pub(crate) fn not_relayed(mut self) -> Self {
        self.relay = None;
        self
    }

    pub(crate) fn end(&self, kind: Kind) -> Option<End> {
        match kind {
            Kind::Recv => self.recv,
            Kind::Save => self.save,
            Kind::Relay => self.relay,
        }
    }

    pub(crate) fn say(mut self, on: Connection, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Say(on, bytes.into()));
        self
    }

    pub(crate) fn close(mut self, connection: Connection) -> Self {
        self.steps.push(Step::Close(connection));
        self
    }

    pub(crate) fn await_end(mut self, connection: Connection) -> Self {
        self.steps.push(Step::AwaitEnd(connection));
        self
    }

    /// The main stream up to the list of blocks, with a return path.
    pub(crate) fn head(self) -> Self {
        self.say(MAIN, [stream::head(), stream::open_return_path()].concat())
    }

    /// Two channels say which they are.
    pub(crate) fn channels(self) -> Self {
        self.say(FIRST, packet::init(0))
            .say(SECOND, packet::init(1))
    }

    /// Both channels come to a barrier.
    pub(crate) fn sync(self) -> Self {
        self.say(FIRST, packet::sync()).say(SECOND, packet::sync())
    }

    /// Everything up to the first barrier: a block `ram` of [`PAGES`].
    pub(crate) fn begun(self) -> Self {
        let start = stream::ram_start_with(b"ram", PAGES * PAGE as u64);
        self.head().channels().say(MAIN, start).sync()
    }

    /// Everything up to the first barrier, at which all channels are known to have met.
    pub(crate) fn met(self) -> Self {
        let mut row = self.begun().say(MAIN, stream::ping(7));
        row.steps.push(Step::AwaitPong);
        row
    }

    /// A whole migration behind [`Self::begun`], without a page.
    pub(crate) fn ended(self) -> Self {
        let end = [stream::ram_end(), stream::tail()].concat();
        self.sync().say(MAIN, end)
    }
}

/// Of the block `ram`: as many as a packet can list, and some.
pub(crate) const PAGES: u64 = 200;
