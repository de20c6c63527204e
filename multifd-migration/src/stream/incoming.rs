// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main stream as a destination reads it.

mod beside;
mod early;

use std::time::Duration;

use multifd_core::PageSize;

use super::configuration::{CONFIGURATION_OFFSET, Configuration};
use super::early::{Body, EarlyPlace, OpenSections, SectionKind, begins_twice};
use super::ram::{AnnouncedBlock, RAM_IDSTR, RamPart, RamReader, SyncMode, Word};
use super::section::{self, SectionHeader, SectionType};
use super::tail::{self, MAX_TAIL_LEN, Tail};
use super::{Command, Event, Problem, Reader, ReturnMessage, StreamError};

/// The main stream of a migration, read event by event.
///
/// [`next_event`](Self::next_event) gives what comes before the end of RAM; the last event is the
/// [end](Event::SectionEnd) of [`RamPart::End`]. Then [`read_tail`](Self::read_tail) takes the device
/// state as it is.
#[derive(Debug)]
pub struct Incoming {
    reader: Reader,
    /// What this side is set to; behind the configuration what the guest has.
    page_size: Option<PageSize>,
    state: State,
    return_path: bool,
    ram: Option<RamReader>,
    /// The sections that are not RAM's.
    open: OpenSections,
    place: EarlyPlace,
    /// What page sizes the source's host has, if postcopy may follow.
    host_page_sizes: Option<u64>,
    sync_mode: Option<SyncMode>,
    /// How long the source may be silent but between two sections.
    silence: Option<Duration>,
}

#[derive(Debug)]
enum State {
    /// Before the first byte.
    Header,
    /// At the first byte of a section or command.
    Between,
    /// At a word of a RAM section.
    Words(RamPart),
    /// At the footer of a RAM section.
    Footer(RamPart),
    /// In a section that is not RAM's.
    Early(Box<Body>),
    /// At the device state.
    Tail,
    /// Everything has been read.
    Done,
}

impl Incoming {
    /// A main stream, from its first byte on. A guest with pages of another size than `page_size` is refused, if the
    /// configuration names it; `None` takes [what it names](Configuration::page_size).
    pub fn new(reader: Reader, page_size: impl Into<Option<PageSize>>) -> Self {
        Self {
            reader,
            page_size: page_size.into(),
            state: State::Header,
            return_path: false,
            ram: None,
            open: OpenSections::default(),
            place: EarlyPlace::default(),
            host_page_sizes: None,
            sync_mode: None,
            silence: None,
        }
    }

    /// How long the source may be silent inside of a section, a command or the configuration; without a limit
    /// at the start. Between two sections it may always be silent for ever, for a guest that runs or that
    /// waits for its switchover has nothing to send. Behind a section whose layout is not known that is not certain, and
    /// the limit counts.
    pub fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.silence = limit;
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The connection's, the end of the stream, everything that a source must not send or that is
    /// not supported, and a call after the last event.
    pub fn next_event(&mut self) -> Result<Event, StreamError> {
        if matches!(self.state, State::Between) {
            self.reader.set_time_limit(None);
            self.reader.peek("a section's type")?;
        }
        self.reader.set_time_limit(self.silence);
        match self.state {
            State::Early(_) => self.early(),
            State::Header => self.configuration().map(Event::Configuration),
            State::Between => self.section(),
            State::Words(part) => self.word(part),
            State::Footer(part) => self.footer(part),
            State::Tail | State::Done => {
                Err(self.misuse("an event", "was asked for after the last"))
            }
        }
    }

    /// Waits for all of the device state, after the last event.
    ///
    /// Without a return path it ends with the stream. With one the source keeps the connection open,
    /// and the end is found as [`Tail`] says.
    ///
    /// # Errors
    /// The connection's, more than [`MAX_TAIL_LEN`] bytes, an end that cannot be right, and a call at
    /// another time.
    pub fn read_tail(&mut self) -> Result<Tail, StreamError> {
        self.read_tail_beside(&mut || false)
    }

    /// The same, but when the transport's time limit has passed, it waits on while `is_moving` says so: state of
    /// devices comes over the channels, too.
    ///
    /// # Errors
    /// As [`Self::read_tail`].
    pub(crate) fn read_tail_beside(
        &mut self,
        is_moving: &mut dyn FnMut() -> bool,
    ) -> Result<Tail, StreamError> {
        if !matches!(self.state, State::Tail) {
            return Err(self.misuse("the device state", "was asked for out of turn"));
        }
        let limits = (self.open.full(), MAX_TAIL_LEN);
        let tail = tail::read(&mut self.reader, self.return_path, limits, is_moving)?;
        self.state = State::Done;
        Ok(tail)
    }

    /// Waits for a PING of `value`, the only thing that may come after the device state.
    ///
    /// # Errors
    /// The connection's, and anything else that comes.
    pub(crate) fn wait_ping(&mut self, value: u32) -> Result<(), StreamError> {
        let at = self.reader.offset();
        let kind = SectionType(self.reader.u8("the word to run the guest")?);
        if kind == SectionType::COMMAND && Command::read(&mut self.reader)? == Command::Ping(value)
        {
            return Ok(());
        }
        let (what, when) = ("something else than PING", "comes after the device state");
        Err(self.reader.wrong(at, Problem::Order { what, when }))
    }

    /// Sends a message to the source, at any time after [`Command::OpenReturnPath`].
    ///
    /// # Errors
    /// The transport's, and a call before the source has opened the return path.
    pub fn reply(&mut self, message: ReturnMessage) -> Result<(), StreamError> {
        if !self.return_path {
            return Err(self.misuse("a message", "was to be sent without a return path"));
        }
        self.reader.send(&message.encode())
    }

    /// The size of the guest's pages. Known since [`Event::Configuration`].
    pub fn page_size(&self) -> PageSize {
        self.page_size.unwrap_or_default()
    }

    /// Whether the source has opened the return path.
    pub fn has_return_path(&self) -> bool {
        self.return_path
    }

    /// Whether the section that ends RAM has begun.
    pub(crate) fn is_at_end_of_ram(&self) -> bool {
        matches!(
            self.state,
            State::Words(RamPart::End) | State::Footer(RamPart::End) | State::Tail | State::Done
        )
    }

    /// How the source marks the points where the channels meet. Known since the first
    /// [`Sync`](Event::Sync).
    pub fn sync_mode(&self) -> Option<SyncMode> {
        self.sync_mode
    }

    /// The blocks of RAM; none before [`Event::RamStart`].
    pub fn blocks(&self) -> &[AnnouncedBlock] {
        self.ram.as_ref().map_or(&[], |ram| &ram.blocks)
    }

    /// The reader: how far the stream has come, and its transport.
    pub fn reader_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Gives the reader back.
    pub fn into_reader(self) -> Reader {
        self.reader
    }

    fn configuration(&mut self) -> Result<Configuration, StreamError> {
        let configuration = Configuration::read(&mut self.reader)?;
        let wrong = |problem| self.reader.wrong(CONFIGURATION_OFFSET, problem);
        configuration.check_capabilities().map_err(wrong)?;
        let page_size = configuration.page_size(self.page_size);
        self.page_size = Some(page_size.map_err(wrong)?);
        self.state = State::Between;
        Ok(configuration)
    }

    fn section(&mut self) -> Result<Event, StreamError> {
        let at = self.reader.offset();
        let kind = SectionType(self.reader.u8("a section's type")?);
        match kind {
            SectionType::COMMAND => self.command(at).map(Event::Command),
            SectionType::START | SectionType::FULL => self.start(kind, at),
            SectionType::PART => self.resume(RamPart::Part, SectionKind::Part, at),
            SectionType::END => self.resume(RamPart::End, SectionKind::End, at),
            SectionType::EOF => {
                let (what, when) = ("the end of the stream", "comes before the end of RAM");
                Err(self.reader.wrong(at, Problem::Order { what, when }))
            }
            SectionType(got) => {
                let want = "a command (8) or a section (1, 2, 3, 4)";
                Err(self
                    .reader
                    .wrong(at, Problem::value("a section's type", got, want)))
            }
        }
    }

    fn command(&mut self, at: u64) -> Result<Command, StreamError> {
        let command = Command::read(&mut self.reader)?;
        let refused = match command {
            Command::OpenReturnPath if self.return_path => {
                Some(("OPEN_RETURN_PATH", "comes twice"))
            }
            Command::Ping(_) if !self.return_path => Some(("PING", "comes without a return path")),
            _ => None,
        };
        if let Some((what, when)) = refused {
            return Err(self.reader.wrong(at, Problem::Order { what, when }));
        }
        self.return_path |= command == Command::OpenReturnPath;
        if let Command::PostcopyAdvise(Some(sizes)) = command {
            self.host_page_sizes = Some(sizes.host);
        }
        Ok(command)
    }

    fn start(&mut self, kind: SectionType, at: u64) -> Result<Event, StreamError> {
        let header = SectionHeader::read(&mut self.reader)?;
        if header.idstr != RAM_IDSTR || kind != SectionType::START {
            return self.early_start(kind, header, at);
        }
        if self.ram.is_some() {
            let (what, when) = ("the start of RAM", "comes twice");
            return Err(self.reader.wrong(at, Problem::Order { what, when }));
        }
        let ram = RamReader::start(
            &mut self.reader,
            &header,
            (self.page_size.unwrap_or_default(), self.host_page_sizes),
            at,
        )?;
        if self.open.contains(ram.section_id) {
            return Err(self.reader.wrong(at, begins_twice()));
        }
        let event = Event::RamStart {
            section_id: ram.section_id,
            blocks: ram.blocks.clone(),
        };
        self.ram = Some(ram);
        self.state = State::Words(RamPart::Start);
        Ok(event)
    }

    fn resume(&mut self, part: RamPart, kind: SectionKind, at: u64) -> Result<Event, StreamError> {
        let id = self.reader.u32("a section's id")?;
        if self.is_ram(id) {
            self.state = State::Words(part);
            return self.word(part);
        }
        if let Some(head) = self.open.resume(kind, id) {
            return Ok(self.enter(head, at));
        }
        let problem = match &self.ram {
            Some(ram) => {
                let want =
                    format_args!("{:#x}, RAM's, or that of another open one", ram.section_id);
                Problem::value("a section's id", id, want)
            }
            None => {
                let (what, when) = ("a section's continuation", "comes before its start");
                Problem::Order { what, when }
            }
        };
        Err(self.reader.wrong(at, problem))
    }

    /// Whether this id is that of RAM's sections.
    fn is_ram(&self, id: u32) -> bool {
        self.ram.as_ref().is_some_and(|ram| ram.section_id == id)
    }

    fn word(&mut self, part: RamPart) -> Result<Event, StreamError> {
        let at = self.reader.offset();
        let Some(ram) = &mut self.ram else {
            return Err(self.misuse("a RAM word", "was asked for before the start of RAM"));
        };
        match ram.word(&mut self.reader)? {
            Word::Zero { block, offset } => Ok(Event::ZeroPage { block, offset }),
            Word::Flush => match *self.sync_mode.get_or_insert(SyncMode::PerRound) {
                SyncMode::PerRound => Ok(Event::Sync),
                SyncMode::PerSection => {
                    let (what, when) = ("a FLUSH word", "comes after a RAM START without one");
                    Err(self.reader.wrong(at, Problem::Order { what, when }))
                }
            },
            Word::Eos => {
                self.state = State::Footer(part);
                match *self.sync_mode.get_or_insert(SyncMode::PerSection) {
                    SyncMode::PerRound => self.footer(part),
                    SyncMode::PerSection => Ok(Event::Sync),
                }
            }
        }
    }

    fn footer(&mut self, part: RamPart) -> Result<Event, StreamError> {
        let Some(ram) = &self.ram else {
            return Err(self.misuse("a footer", "was asked for before the start of RAM"));
        };
        section::read_footer(&mut self.reader, ram.section_id)?;
        self.state = match part {
            RamPart::End => State::Tail,
            RamPart::Start | RamPart::Part => State::Between,
        };
        self.place = match part {
            RamPart::Start => EarlyPlace::BehindStart,
            RamPart::Part | RamPart::End => EarlyPlace::BesideRam,
        };
        Ok(Event::SectionEnd(part))
    }

    fn misuse(&self, what: &'static str, when: &'static str) -> StreamError {
        let at = self.reader.position();
        let problem = Problem::Order { what, when };
        StreamError::Caller { at, problem }
    }
}
