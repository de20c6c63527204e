//! The main stream as a destination reads it.

use std::time::Duration;

use multifd_core::PageSize;

use super::configuration::{CONFIGURATION_OFFSET, Configuration, MAPPED_RAM};
use super::ram::{AnnouncedBlock, RAM_IDSTR, RamPart, RamReader, SyncMode, Word};
use super::section::{self, SectionHeader, SectionType};
use super::tail::{self, MAX_TAIL_LEN, Tail};
use super::{Command, Problem, Reader, ReturnMessage, StreamError};

/// The main stream of a migration, read event by event.
///
/// [`next_event`](Self::next_event) gives what comes before the device state; the last event is the
/// [end](Event::SectionEnd) of [`RamPart::End`]. Then [`read_tail`](Self::read_tail) takes the device
/// state as it is.
#[derive(Debug)]
pub struct Incoming {
    reader: Reader,
    page_size: PageSize,
    state: State,
    return_path: bool,
    ram: Option<RamReader>,
    sync_mode: Option<SyncMode>,
    /// How long the source may be silent but between two sections.
    silence: Option<Duration>,
}

/// What a source says on the main stream before the device state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first event: what machine this is.
    Configuration(Configuration),
    /// A command. Allowed between sections only.
    Command(Command),
    /// The RAM START section has begun. Comes once, before any other event of RAM.
    RamStart {
        /// The id that the source has given to RAM's sections.
        section_id: u32,
        /// The blocks that will come, each name once. A block's index in this list names it in
        /// [`ZeroPage`](Self::ZeroPage).
        blocks: Vec<AnnouncedBlock>,
    },
    /// A page is all zero. Inside of a RAM section; with `zero-page-detection=legacy` only.
    ZeroPage {
        /// Index of the block in the list of [`RamStart`](Self::RamStart).
        block: usize,
        /// The page's offset in bytes: aligned, and the page is inside of the block.
        offset: u64,
    },
    /// Wait until every channel has come to its next SYNC, then let them all go on. Inside of a RAM
    /// section, whatever the [`SyncMode`].
    Sync,
    /// A RAM section has ended.
    SectionEnd(RamPart),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte.
    Header,
    /// At the first byte of a section or command.
    Between,
    /// At a word of a RAM section.
    Words(RamPart),
    /// At the footer of a RAM section.
    Footer(RamPart),
    /// At the device state.
    Tail,
    /// Everything has been read.
    Done,
}

impl Incoming {
    /// A main stream, from its first byte on. `page_size` is the guest's, the same on both sides.
    pub fn new(reader: Reader, page_size: PageSize) -> Self {
        Self {
            reader,
            page_size,
            state: State::Header,
            return_path: false,
            ram: None,
            sync_mode: None,
            silence: None,
        }
    }

    /// How long the source may be silent inside of a section, a command or the configuration; without a limit
    /// at the start. Between two sections it may always be silent for ever, for a guest that runs or that
    /// waits for its switchover has nothing to send.
    pub fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.silence = limit;
    }

    /// Whether the source has gone away though it waits for an answer, if that can be known: only with a
    /// return path, without one it closes the connection behind the last byte.
    pub(crate) fn source_is_gone(&self) -> bool {
        self.return_path && self.reader.transport().has_ended()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The connection's, the end of the stream, everything that a source must not send or that is
    /// not supported, and a call after the last event.
    pub fn next_event(&mut self) -> Result<Event, StreamError> {
        if self.state == State::Between {
            self.reader.set_time_limit(None);
            self.reader.peek("a section's type")?;
        }
        self.reader.set_time_limit(self.silence);
        match self.state {
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
        if self.state != State::Tail {
            return Err(self.misuse("the device state", "was asked for out of turn"));
        }
        let tail = tail::read(&mut self.reader, self.return_path, MAX_TAIL_LEN)?;
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

    /// Whether the source has opened the return path.
    pub fn has_return_path(&self) -> bool {
        self.return_path
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
        if let Some(name) = configuration.capabilities.first() {
            return Err(wrong(Problem::Unsupported {
                what: format!("the capability {name}"),
                advice: if name == MAPPED_RAM {
                    "turn it off at the source; it is for files, not for connections"
                } else {
                    "turn it off at the source"
                },
            }));
        }
        let want = self.page_size.bytes().trailing_zeros();
        if let Some(bits) = configuration.page_bits.filter(|bits| *bits != want) {
            let what = "the number of page bits";
            return Err(wrong(Problem::value(what, bits, format_args!("{want:#x}"))));
        }
        self.state = State::Between;
        Ok(configuration)
    }

    fn section(&mut self) -> Result<Event, StreamError> {
        let at = self.reader.offset();
        let kind = SectionType(self.reader.u8("a section's type")?);
        match kind {
            SectionType::COMMAND => self.command(at).map(Event::Command),
            SectionType::START | SectionType::FULL => self.start(kind, at),
            SectionType::PART => self.resume(RamPart::Part, at),
            SectionType::END => self.resume(RamPart::End, at),
            SectionType::EOF => {
                let (what, when) = ("the end of the stream", "comes before the end of RAM");
                Err(self.reader.wrong(at, Problem::Order { what, when }))
            }
            SectionType(got) => {
                let want = "a command (8) or a section of RAM (1, 2, 3)";
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
        Ok(command)
    }

    fn start(&mut self, kind: SectionType, at: u64) -> Result<Event, StreamError> {
        let header = SectionHeader::read(&mut self.reader)?;
        if header.idstr != RAM_IDSTR || kind != SectionType::START {
            let problem = Problem::Unsupported {
                what: format!("state of {:?} before the end of RAM", header.idstr),
                advice: "migrate without this device, or without the capability that sends it",
            };
            return Err(self.reader.wrong(at, problem));
        }
        if self.ram.is_some() {
            let (what, when) = ("the start of RAM", "comes twice");
            return Err(self.reader.wrong(at, Problem::Order { what, when }));
        }
        let ram = RamReader::start(&mut self.reader, &header, self.page_size, at)?;
        let event = Event::RamStart {
            section_id: ram.section_id,
            blocks: ram.blocks.clone(),
        };
        self.ram = Some(ram);
        self.state = State::Words(RamPart::Start);
        Ok(event)
    }

    fn resume(&mut self, part: RamPart, at: u64) -> Result<Event, StreamError> {
        let id = self.reader.u32("a section's id")?;
        match &self.ram {
            Some(ram) if ram.section_id == id => {
                self.state = State::Words(part);
                self.word(part)
            }
            Some(ram) => {
                let want = format_args!("{:#x}, RAM's", ram.section_id);
                Err(self
                    .reader
                    .wrong(at, Problem::value("a section's id", id, want)))
            }
            None => {
                let (what, when) = ("a section's continuation", "comes before the start of RAM");
                Err(self.reader.wrong(at, Problem::Order { what, when }))
            }
        }
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
        Ok(Event::SectionEnd(part))
    }

    fn misuse(&self, what: &'static str, when: &'static str) -> StreamError {
        let at = self.reader.position();
        let problem = Problem::Order { what, when };
        StreamError::Caller { at, problem }
    }
}
