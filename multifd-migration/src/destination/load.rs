// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The part of a migration in which memory comes.

use std::time::Instant;

use multifd_core::memory::BlockIndex;
use multifd_core::wire::ram_header_len;
use multifd_core::{Error, Fault, GuestMemory, Place, Receiver};

use super::switchover_ack::{self, EndlessRounds};
use super::teller::Teller;
use super::{DestinationConfig, DestinationHost};
use crate::handover;
use crate::host_error::refused;
use crate::stream::{
    AnnouncedBlock, Command, Configuration, EarlyPart, Event, Incoming, RamPart, ReturnMessage,
    SyncMode, Tail,
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
    /// Tells the source what the host does, if it can be told so.
    pub(super) teller: Option<Teller>,
    /// The rounds of memory, and how many there were.
    rounds: EndlessRounds,
    rounds_seen: u64,
    /// The channels have met in the section of RAM that is being read.
    met: bool,
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
            teller: None,
            rounds: EndlessRounds::default(),
            rounds_seen: 0,
            met: false,
        }
    }

    /// Deals with the next event; returns whether it was the last one before the devices.
    pub(super) fn step(&mut self, stream: &mut Incoming) -> Result<bool, Error> {
        match stream.next_event()? {
            Event::Configuration(configuration) => {
                // The channels wait for it.
                self.receiver.set_page_size(stream.page_size())?;
                self.configuration = configuration;
            }
            Event::Command(Command::Ping(handover::OFFER)) => {
                self.hands_over = true;
                stream.reply(ReturnMessage::Pong(handover::ACCEPT))?;
                let abort = self.receiver.abort_handle();
                self.teller = Some(Teller::start(stream, &self.config.receiver, abort)?);
            }
            Event::Command(Command::Ping(value)) => stream.reply(ReturnMessage::Pong(value))?,
            Event::RamStart { section_id, blocks } => {
                // Not before: by now the return path is open, and the source can be told.
                self.check_machine()?;
                self.host.ram_section_id(section_id);
                self.attach(&blocks)?;
            }
            Event::ZeroPage { block, offset } => self.zero_page(block, offset)?,
            Event::Sync => {
                let stream = &*stream;
                stream.check_ahead()?;
                self.receiver.sync_beside(&|| stream.source_is_gone())?;
                self.met = true;
                self.note_round(stream)?;
            }
            Event::SectionEnd(part) => return self.section_end(part, stream),
            Event::Command(Command::OpenReturnPath) => self.acknowledge(stream)?,
            Event::Command(Command::PostcopyAdvise(_) | Command::SwitchoverStart) => {}
            Event::EarlyStart(head) => self.early(EarlyPart::Start {
                head: &head,
                place: stream.early_place(),
            })?,
            Event::EarlyData(data) if data.is_empty() => {}
            Event::EarlyData(data) => self.early(EarlyPart::Data(&data))?,
            Event::EarlyEnd => self.early(EarlyPart::End)?,
        }
        Ok(false)
    }

    /// Returns whether this was the last section of RAM.
    fn section_end(&mut self, part: RamPart, stream: &Incoming) -> Result<bool, Error> {
        let met = std::mem::take(&mut self.met);
        match part {
            RamPart::Start => {
                if let Some(mode) = stream.sync_mode() {
                    self.host.sync_mode(mode);
                }
                Ok(false)
            }
            RamPart::Part => Ok(false),
            RamPart::End if met => {
                self.receiver.end_memory()?;
                Ok(true)
            }
            // What is on the channels then would be lost.
            RamPart::End => Err(Error::new(
                Fault::Peer,
                "RAM's END section has no barrier, wanted one: pages may still be under way",
            )),
        }
    }

    /// Gives the devices to the host, and tells the source meanwhile that it works.
    pub(super) fn complete(&mut self, tail: &Tail) -> Result<(), Error> {
        let Some(teller) = self.teller.take() else {
            return self.host.complete(tail).map_err(refused);
        };
        teller.begin(self.host.work());
        let completed = self.host.complete(tail);
        let told = teller.end();
        completed.map_err(refused)?;
        told
    }

    /// Says that this side is ready for the switchover, if the source waits for that.
    fn acknowledge(&self, stream: &mut Incoming) -> Result<(), Error> {
        let machine = &self.configuration.machine;
        if self.config.switchover_ack && switchover_ack::is_wanted(machine) {
            stream.reply(ReturnMessage::SwitchoverAck)?;
        }
        Ok(())
    }

    /// Notices a source that waits for such a word in vain. One that hands over waits for none, and one
    /// that marks sections, not rounds, is not looked at: its sections are small.
    fn note_round(&mut self, stream: &Incoming) -> Result<(), Error> {
        let waits = stream.has_return_path() && !self.hands_over && !self.config.switchover_ack;
        if !waits || stream.sync_mode() != Some(SyncMode::PerRound) {
            return Ok(());
        }
        let syncs = self.config.receiver.channels.count() * ram_header_len(stream.page_size());
        self.rounds_seen += 1;
        let received = self.receiver.monitor().wire_bytes();
        let received = received.saturating_sub(self.rounds_seen * syncs as u64);
        self.rounds.round(received)
    }

    fn early(&mut self, part: EarlyPart<'_>) -> Result<(), Error> {
        self.host.early_section(part).map_err(refused)
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
        let Some(got) = configuration.uuid else {
            return Ok(());
        };
        let want = self.receiver.wait_uuid(config.receiver.limits.main)?;
        if got == want {
            return Ok(());
        }
        let what = match config.receiver.uuid {
            Some(_) => format!("the source migrates VM {got}, this side expects {want}"),
            None => format!("the source migrates VM {got}, but its channels say {want}"),
        };
        Err(Error::new(Fault::Peer, what))
    }

    /// Asks the host for memory and checks that it has what was announced.
    fn attach(&mut self, announced: &[AnnouncedBlock]) -> Result<(), Error> {
        let memory = self
            .host
            .memory(&self.configuration, announced)
            .map_err(refused)?;
        let mut blocks = Vec::with_capacity(announced.len());
        for block in announced {
            let place = Place::default().block(block.name.as_str());
            let (_, ram) = memory.find(block.name.as_str().as_bytes()).ok_or_else(|| {
                Error::new(Fault::Caller, "this side has no such RAM block").at(place.clone())
            })?;
            if ram.len() != block.used_length {
                let (got, want) = (block.used_length, ram.len());
                let what = format!("the source's block has {got:#x} bytes, this side's {want:#x}");
                return Err(Error::new(Fault::Peer, what).at(place));
            }
            blocks.push(ram.clone());
            self.ram_bytes += ram.len();
        }
        // Without the host's other blocks: the source has not announced them, and must not write to them.
        let memory = GuestMemory::new(memory.page_size(), blocks)
            .map_err(|error| Error::new(Fault::Caller, error))?;
        self.blocks = memory.indexed().map(|(index, _)| index).collect();
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
