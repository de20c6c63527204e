// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving end of a migration: the pages of the channels fill guest memory.
//! May import the ground and `intake`.

mod config;

pub use config::ReceiverConfig;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::AbortHandle;
use super::intake::{Intake, IntakeConfig, Strangers};
use crate::channel::{GuestTarget, MigrationStats, Monitor};
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::PageSize;
use crate::memory::{BlockIndex, GuestMemory, RamBlock};
use crate::method::MultifdMethods;
use crate::transport::Transport;
use crate::wire::Uuid;

/// Receives pages of guest memory over several channels at once.
///
/// The host accepts connections and gives them to [`Self::accept`], in whatever order they come;
/// each gets a thread that finds out which channel it is. The host's thread reads the main channel,
/// says what the memory is once that is announced, and meets the channels at each sync point.
///
/// After a failure the connections stay open until the receiver is [settled](Self::settle) or dropped:
/// the source is to hear of the failure on the main channel first.
#[derive(Debug)]
pub struct Receiver {
    intake: Intake<GuestTarget>,
    memory_is_zeroed: bool,
}

impl Receiver {
    /// A receiver without connections or memory yet.
    pub fn new(config: ReceiverConfig, method: Arc<dyn MultifdMethods>) -> Self {
        let intake = IntakeConfig {
            side: Side::Destination,
            uuid: config.uuid,
            channels: config.channels,
            page_size: config.page_size,
            limits: config.limits,
            threads: config.threads,
        };
        let target = GuestTarget::new(config.device_state);
        Self {
            intake: Intake::new(intake, method, target),
            memory_is_zeroed: config.memory_is_zeroed,
        }
    }

    /// Takes a new connection: the main channel or a multifd channel, which its first bytes tell.
    /// Returns at once.
    ///
    /// Until a connection has shown that it is of a migration, nothing about it fails one: a port check, a
    /// client of something else, one that says too little for too long, a second main connection or a second
    /// channel of one number is closed, and [counted](Self::strangers). What is wrong with a channel that has
    /// sent a whole initial packet fails the migration: another VM's UUID, a number that this side does
    /// not have. No more than 320 connections may be there at once that have not said what they are: when one
    /// more comes, the oldest one is closed, of those that are not [open](Transport::open) if there are any.
    ///
    /// After a failure the connection is closed only when the source has closed it or this side
    /// [has settled](Self::settle), so that whoever accepts connections should do so until then; a main
    /// connection is closed as soon as it is known to be one.
    ///
    /// # Errors
    /// A thread cannot be started, which fails the migration; or the migration is over.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        self.intake.accept(connection)
    }

    /// Whether the main connection and all channels are known.
    pub fn is_complete(&self) -> bool {
        self.intake.is_complete()
    }

    /// Waits until a connection of the source's is known, main or channel, but for no longer than `wait`:
    /// for ever without one. Returns since when one is known, which is when the limits of a migration begin.
    ///
    /// # Errors
    /// None came in time, which fails the migration; or it failed.
    pub fn wait_source(&self, wait: Option<Duration>) -> Result<Instant, Error> {
        self.intake.wait_source(wait)
    }

    /// Connections that were closed because they were not the source's.
    pub fn strangers(&self) -> Strangers {
        self.intake.strangers()
    }

    /// Waits for the main channel, for ever as long as [no connection is known](Self::wait_source), and until
    /// `limit` after the first one; its first four bytes, [`crate::wire::MAIN_MAGIC`], have been read. Returns it
    /// once.
    ///
    /// # Errors
    /// None came in time, it was answered before, or the migration failed.
    pub fn wait_main(&self, limit: Duration) -> Result<Box<dyn Transport>, Error> {
        self.intake.wait_main(limit)
    }

    /// Says what the guest memory is: the blocks that the main channel has announced. Pages that
    /// come before that are refused; a source sends none before its first SYNC.
    ///
    /// # Errors
    /// It was said before, the page size is not the receiver's, or the migration failed.
    pub fn attach(&self, memory: GuestMemory) -> Result<(), Error> {
        self.intake.control().check()?;
        self.set_page_size(memory.page_size())?;
        let attached = self.intake.target().attach(memory, self.memory_is_zeroed);
        let twice = || self.intake.caller("guest memory was attached already");
        attached.then_some(()).ok_or_else(twice)
    }

    /// Says the size of the guest's pages, as soon as it is known: until then no channel is read. The same may be
    /// said again.
    ///
    /// # Errors
    /// It is another one already.
    pub fn set_page_size(&self, page_size: PageSize) -> Result<(), Error> {
        let want = self.intake.set_page_size(page_size);
        if page_size == want {
            return Ok(());
        }
        let what = format!("guest memory with pages of {page_size} bytes, wanted {want}");
        Err(self.intake.caller(what))
    }

    /// Meets all channels at a sync point: waits until each has got everything before its SYNC,
    /// then lets them go on.
    ///
    /// # Errors
    /// No channel has made progress within the configured limit, or the migration failed.
    pub fn sync(&self) -> Result<(), Error> {
        self.sync_beside(&|| false)
    }

    /// As [`Self::sync`], but waits no longer when the source `is_gone`: the end of the main connection tells
    /// that, which nobody reads meanwhile. It is asked now and then.
    ///
    /// # Errors
    /// As [`Self::sync`], and the source is gone.
    pub fn sync_beside(&self, is_gone: &dyn Fn() -> bool) -> Result<(), Error> {
        self.intake.meet(&|| false, is_gone, &String::new)
    }

    /// Says that the main channel has ended memory: a page that still comes is refused, before it is written. Device
    /// state may come. To be called when the last barrier is over; [`Self::finish`] tells of what came until then.
    ///
    /// # Errors
    /// Pages have come behind the last barrier, or the migration failed.
    pub fn end_memory(&self) -> Result<(), Error> {
        let Some(guest) = self.intake.target().guest() else {
            return self.intake.control().check();
        };
        self.intake.end_pages(&guest.round)
    }

    /// Clears a page that the main channel says is zero.
    ///
    /// # Errors
    /// No memory is attached, it has no such page, or the migration failed.
    pub fn zero_page(&self, block: BlockIndex, offset: u64) -> Result<(), Error> {
        self.intake.control().check()?;
        let guest = self.intake.target().guest();
        let target = guest.ok_or_else(|| self.intake.caller("no guest memory attached"))?;
        let page_size = target.memory.page_size();
        let ram = target.memory.block(block);
        let page = ram.and_then(|ram| Some((ram, ram.span(offset, page_size.bytes())?)));
        let (ram, page) = page
            .filter(|_| page_size.is_aligned(offset))
            .ok_or_else(|| {
                let place = Place::on(Side::Destination).offset(offset);
                Error::new(Fault::Peer, "zero page outside its block").at(place)
            })?;
        let place = Place::on(Side::Destination);
        target.round.add(1)?;
        let cleared = target.clear(block, offset, &page);
        cleared.map_err(|error| error.at(place.block(ram.name().as_str())))
    }

    /// Ends the threads and closes the channels: nothing more is wanted. Returns what was received.
    /// No connection is accepted afterwards.
    ///
    /// # Errors
    /// The migration failed.
    pub fn finish(&self) -> Result<MigrationStats, Error> {
        self.intake.finish()
    }

    /// Fails the migration, unless it has failed already, and waits until the source has closed all of its
    /// connections, but for no longer than `limit`; then closes them. By now the source should have been told
    /// on the main channel, or have lost it.
    ///
    /// Takes the `main` connection to wait for it, too: what was sent last on a connection may not reach the
    /// peer if it is closed while bytes of the peer's are unread.
    pub fn settle(&self, main: Option<Box<dyn Transport>>, limit: Duration) {
        self.intake.settle(main, limit);
    }

    /// Waits until a channel has said the VM's UUID, and until `limit` after the first connection that is known.
    ///
    /// # Errors
    /// No channel came in time, or the migration failed.
    pub fn wait_uuid(&self, limit: Duration) -> Result<Uuid, Error> {
        self.intake.wait_uuid(limit)
    }

    /// The VM's UUID: that of the configuration, or what the first channel has said.
    pub fn uuid(&self) -> Option<Uuid> {
        self.intake.uuid()
    }

    /// What has been received so far.
    pub fn stats(&self) -> MigrationStats {
        self.intake.stats()
    }

    /// What has been received so far, to be asked from any thread.
    pub fn monitor(&self) -> Monitor {
        self.intake.monitor()
    }

    /// How many pages have arrived at least once.
    pub fn received_pages(&self) -> u64 {
        let guest = self.intake.target().guest();
        guest.map_or(0, |guest| guest.received.count())
    }

    /// Says which pages have not arrived, run by run: a source may leave out what its guest does not use. To be
    /// called when the last barrier is over.
    ///
    /// # Errors
    /// Those of `act`, which is not called again then.
    pub fn for_each_missing<E>(
        &self,
        mut act: impl FnMut(&RamBlock, Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(guest) = self.intake.target().guest() else {
            return Ok(());
        };
        for (index, block) in guest.memory.indexed() {
            for run in guest.received.unmarked(index, block.len()) {
                act(block, run)?;
            }
        }
        Ok(())
    }

    /// What aborts this migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.intake.abort_handle()
    }
}
