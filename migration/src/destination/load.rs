//! The part of a migration in which memory comes.

use std::time::Instant;

use multifd_core::memory::BlockIndex;
use multifd_core::{Error, Fault, Place, Receiver};

use super::{DestinationConfig, DestinationHost};
use crate::handover;
use crate::host_error::refused;
use crate::stream::{
    AnnouncedBlock, Command, Configuration, Event, Incoming, RamPart, ReturnMessage,
};

/// What is known while memory comes.
pub(super) struct Load<'a> {
    config: &'a DestinationConfig,
    receiver: &'a Receiver,
    pub(super) host: &'a mut dyn DestinationHost,
    configuration: Configuration,
    /// The index of each announced block in the host's memory.
    blocks: Vec<BlockIndex>,
    pub(super) setup_end: Instant,
    pub(super) ram_bytes: u64,
    pub(super) main_zero_pages: u64,
    /// The source says when the guest may run here.
    pub(super) hands_over: bool,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        config: &'a DestinationConfig,
        receiver: &'a Receiver,
        host: &'a mut dyn DestinationHost,
    ) -> Self {
        Self {
            config,
            receiver,
            host,
            configuration: Configuration::default(),
            blocks: Vec::new(),
            setup_end: Instant::now(),
            ram_bytes: 0,
            main_zero_pages: 0,
            hands_over: false,
        }
    }

    /// Deals with the next event; answers whether it was the last one before the devices.
    pub(super) fn step(&mut self, stream: &mut Incoming) -> Result<bool, Error> {
        match stream.next_event()? {
            Event::Configuration(configuration) => self.configuration = configuration,
            Event::Command(Command::Ping(handover::OFFER)) => {
                self.hands_over = true;
                stream.reply(ReturnMessage::Pong(handover::ACCEPT))?;
            }
            Event::Command(Command::Ping(value)) => stream.reply(ReturnMessage::Pong(value))?,
            Event::RamStart { blocks, .. } => {
                // Not before: by now the return path is open, and the source can be told.
                self.check_machine()?;
                self.attach(&blocks)?;
            }
            Event::ZeroPage { block, offset } => self.zero_page(block, offset)?,
            Event::Sync => self.receiver.sync()?,
            Event::SectionEnd(RamPart::Start) => {
                if let Some(mode) = stream.sync_mode() {
                    self.host.sync_mode(mode);
                }
            }
            Event::SectionEnd(part) => return Ok(part == RamPart::End),
            Event::Command(_) => {}
        }
        Ok(false)
    }

    fn check_machine(&self) -> Result<(), Error> {
        let (config, configuration) = (self.config, &self.configuration);
        if let Some(want) = &config.machine
            && *want != configuration.machine
        {
            let what = format!(
                "the source's machine is {:?}, wanted {want:?}",
                configuration.machine
            );
            return Err(Error::new(Fault::Peer, what));
        }
        let want = config.receiver.uuid;
        if let Some(got) = configuration.uuid.filter(|got| *got != want) {
            let what = format!("the source migrates the VM {got}, this side is {want}");
            return Err(Error::new(Fault::Peer, what));
        }
        Ok(())
    }

    /// Asks the host for memory and checks that it has what was announced.
    fn attach(&mut self, announced: &[AnnouncedBlock]) -> Result<(), Error> {
        let memory = self
            .host
            .memory(&self.configuration, announced)
            .map_err(refused)?;
        for block in announced {
            let place = Place::default().block(block.name.as_str());
            let (index, ram) = memory.find(block.name.as_str().as_bytes()).ok_or_else(|| {
                Error::new(Fault::Caller, "this side has no such RAM block").at(place.clone())
            })?;
            if ram.len() != block.used_length {
                let (got, want) = (block.used_length, ram.len());
                let what = format!("the source's block has {got:#x} bytes, this side's {want:#x}");
                return Err(Error::new(Fault::Peer, what).at(place));
            }
            self.blocks.push(index);
            self.ram_bytes += ram.len();
        }
        self.setup_end = Instant::now();
        self.receiver.attach(memory)
    }

    fn zero_page(&mut self, block: usize, offset: u64) -> Result<(), Error> {
        let block = self.blocks.get(block).ok_or_else(|| {
            Error::new(
                Fault::Peer,
                format!("zero page of block {block}, which is not announced"),
            )
        })?;
        self.main_zero_pages += 1;
        self.receiver.zero_page(*block, offset)
    }
}
