// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main stream, passed on from the source to the destination.

use std::io;
use std::time::{Duration, Instant};

use multifd_core::engine::Forwarding;
use multifd_core::{Error, Fault, PageSize};

use super::link::Link;
use super::side::{from_source, source_is_gone, to_destination};
use super::{RelayHandle, RelayHost};
use crate::handover;
use crate::stream::{
    AnnouncedBlock, Command, Configuration, Event, Incoming, RamPart, StreamError, Writer,
};

/// Reads the main stream, keeps the barriers in it, and writes it to the destination byte for byte.
///
/// What was read is written only after the barrier in it has been sent on the destination's channels.
/// So the destination can always take everything that was written: no wait here is for something that
/// comes behind it.
pub(super) struct MainStream<'a, 'f> {
    stream: Incoming,
    writer: Writer,
    forwarding: &'a mut Forwarding<'f>,
    host: &'a mut dyn RelayHost,
    link: &'a Link,
    handle: &'a RelayHandle,
    passed: Passed,
    configuration: Configuration,
}

/// What has been passed on so far.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) machine: String,
    pub(super) page_size: PageSize,
    pub(super) setup_end: Option<Instant>,
    pub(super) ram_end: Option<Instant>,
    pub(super) ram_bytes: u64,
    pub(super) zero_pages: u64,
    pub(super) bytes: u64,
}

impl<'a, 'f> MainStream<'a, 'f> {
    /// A stream of which a copy is kept from behind the magic on, which has been written already.
    pub(super) fn new(
        (stream, writer): (Incoming, Writer),
        forwarding: &'a mut Forwarding<'f>,
        host: &'a mut dyn RelayHost,
        (link, handle): (&'a Link, &'a RelayHandle),
    ) -> Self {
        Self {
            stream,
            writer,
            forwarding,
            host,
            link,
            handle,
            passed: Passed::default(),
            configuration: Configuration::default(),
        }
    }

    /// Passes on everything up to the end of the stream, of which the first event has been read.
    pub(super) fn run(&mut self, head: Event, closing_limit: Duration) -> Result<(), Error> {
        self.pass(head)?;
        while !self.step()? {}
        self.devices()?;
        if self.link.destination_has_guest() {
            return Ok(());
        }
        if self.link.has_return_path() {
            if !self.link.waits_for_release() {
                return Err(source_is_gone());
            }
            let what = "the destination has everything, but the source closed the main connection before it has \
                        given the guest up";
            return Err(from_source(Error::new(Fault::Connection, what)));
        }
        self.forwarding.drain(closing_limit)
    }

    /// Closes the connection to the destination. Returns what is left: the one to the source, and what
    /// has been passed on.
    pub(super) fn close(mut self) -> (Incoming, Passed) {
        if self.link.is_whole() {
            self.writer.transport_mut().set_lingering(true);
        }
        (self.stream, self.passed)
    }

    /// Deals with the next event; returns whether it was the last one before the devices.
    fn step(&mut self) -> Result<bool, Error> {
        let event = self.stream.next_event().map_err(source_error)?;
        self.pass(event)
    }

    /// Deals with an event that has been read; returns as [`Self::step`].
    fn pass(&mut self, event: Event) -> Result<bool, Error> {
        let (mut urgent, mut last, mut switchover) = (true, false, false);
        match event {
            Event::Configuration(configuration) => {
                self.passed.machine.clone_from(&configuration.machine);
                self.passed.page_size = self.stream.page_size();
                self.handle
                    .set_machine(&configuration.machine, self.passed.page_size);
                self.configuration = configuration;
            }
            Event::Command(Command::OpenReturnPath) => self.link.set_return_path(),
            // Before it is passed on: the answer may be there at once.
            Event::Command(Command::Ping(value)) => self.link.set_ping(value),
            Event::Command(Command::SwitchoverStart) => {
                switchover = true;
                self.handle.set_switchover();
            }
            Event::RamStart { blocks, .. } => {
                self.link.set_announced();
                self.attach(&blocks)?;
            }
            Event::ZeroPage { .. } => {
                self.passed.zero_pages += 1;
                urgent = false;
            }
            Event::Sync => {
                let stream = &self.stream;
                stream.check_ahead().map_err(source_error)?;
                if stream.is_at_end_of_ram() {
                    self.handle.set_switchover();
                }
                self.handle.set_at_barrier(true);
                self.forwarding.sync_beside(&|| stream.source_is_gone())?;
                self.handle.set_at_barrier(false);
            }
            Event::SectionEnd(part) => last = part == RamPart::End,
            // Each piece leaves before the next one is waited for, whatever it is.
            Event::EarlyStart(_) | Event::EarlyData(_) | Event::EarlyEnd => {}
            Event::Command(Command::PostcopyAdvise(_)) => {}
        }
        if last {
            self.forwarding.end_memory()?;
            self.passed.ram_end = Some(Instant::now());
            self.handle.commit()?;
            self.link.set_ram_complete();
        }
        let reader = self.stream.reader_mut();
        reader
            .pass_on(&mut self.writer)
            .map_err(destination_error)?;
        // The next event may have to be waited for.
        if urgent || reader.buffered() < LONGEST_WORD {
            self.flush()?;
        }
        if switchover {
            self.forwarding.open_switchover();
        }
        Ok(last)
    }

    fn attach(&mut self, blocks: &[AnnouncedBlock]) -> Result<(), Error> {
        self.host
            .announced(&self.configuration, blocks)
            .map_err(|error| from_source(Error::new(Fault::Peer, error)))?;
        let lengths = blocks
            .iter()
            .map(|block| (block.name.clone(), block.used_length));
        self.forwarding.attach(lengths.collect())?;
        self.passed.ram_bytes = blocks.iter().map(|block| block.used_length).sum();
        self.handle.set_memory(self.passed.ram_bytes);
        self.passed.setup_end = Some(Instant::now());
        Ok(())
    }

    /// Passes on what follows RAM, whatever it is, until the source closes the connection.
    fn devices(&mut self) -> Result<(), Error> {
        // Behind its last byte, which a relay does not know, the source waits for the destination.
        self.stream.reader_mut().set_time_limit(None);
        if self.link.has_return_path() {
            // However this relay ends: what is on its way then is what the source believes to have taken back.
            self.writer.transport_mut().set_lingering(false);
        }
        let release = Command::Ping(handover::GO).encode();
        // The last bytes, of which nobody knows in what pieces they come.
        let mut last: Vec<u8> = Vec::new();
        loop {
            let reader = self.stream.reader_mut();
            match reader.read_on() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // Both sides have what they need.
                Err(_) if self.link.destination_has_guest() => return Ok(()),
                Err(error) if self.link.has_return_path() && is_reset(&error) => return Ok(()),
                Err(error) => return Err(source_error(error)),
            }
            self.check_source()?;
            let reader = self.stream.reader_mut();
            let read = reader.copied();
            last.extend(
                read.get(read.len().saturating_sub(release.len())..)
                    .unwrap_or_default(),
            );
            last.drain(..last.len().saturating_sub(release.len()));
            // Before it is passed on: the answer may be there at once.
            if last == release && self.link.waits_for_release() {
                self.link.set_ping(handover::GO);
            }
            reader
                .pass_on(&mut self.writer)
                .map_err(destination_error)?;
            self.flush()?;
        }
    }

    /// Refuses to pass on more of the end of the stream for a source that has gone, and has its guest. Once the destination
    /// has everything it has the guest already, or waits for a word that the source says only if it gives it up.
    fn check_source(&mut self) -> Result<(), Error> {
        // In this order: the source may go as soon as it has heard that word.
        let is_gone = self.stream.source_is_gone();
        if self.link.is_whole() {
            self.writer.transport_mut().set_lingering(true);
            return Ok(());
        }
        match is_gone {
            true => Err(source_is_gone()),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.link.set_main(true, self.passed.bytes);
        let flushed = self.writer.flush();
        self.passed.bytes = self.writer.offset();
        self.link.set_main(false, self.passed.bytes);
        self.handle.set_main_zero_pages(self.passed.zero_pages);
        flushed.map_err(destination_error)
    }
}

/// Whether the source has closed the connection with something in it, or a relay before this one takes back what it has
/// sent.
fn is_reset(error: &StreamError) -> bool {
    matches!(error, StreamError::Receive { error, .. } if error.kind() == io::ErrorKind::ConnectionReset)
}

fn source_error(error: StreamError) -> Error {
    from_source(error.into())
}

fn destination_error(error: StreamError) -> Error {
    to_destination(error.into())
}

/// Most bytes of a word of RAM with what follows it: a zero page of a block with a name of 255 bytes.
const LONGEST_WORD: usize = 8 + 1 + 255 + 1;
