// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending end of a migration: the host's thread fills batches, the channels' threads send them.
//! May import the ground.

mod config;
mod lanes;
mod thread;

pub use config::SenderConfig;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lanes::{Excuse, Lanes, caller};
use thread::Job;

use crate::channel::{Batch, DeviceState, MigrationStats, Monitor};
use crate::engine::control::{AbortHandle, Control};
use crate::engine::spawn::ThreadGroup;
use crate::error::{Error, Place};
use crate::geometry::ChannelId;
#[cfg(doc)]
use crate::memory::RamBlock;
use crate::memory::{BlockIndex, GuestMemory};
use crate::method::MultifdMethods;
use crate::transport::Transport;
use crate::wire::DeviceStateHeader;

/// Sends pages of guest memory over several channels at once.
///
/// The host's thread queues pages; each channel has a thread of its own that turns them into
/// packets. Queueing blocks while all channels are busy. The first error of any channel ends all of
/// them, and every call from then on returns it.
#[derive(Debug)]
pub struct Sender {
    memory: GuestMemory,
    control: Arc<Control>,
    threads: ThreadGroup,
    lanes: Lanes,
    /// How long threads that run the host's code are waited for.
    join_limit: Duration,
    /// Whether zero pages are listed, or sent as all others.
    lists_zero_pages: bool,
    /// The batch that is being filled.
    current: Option<(ChannelId, Batch)>,
    /// Bytes of guest memory that were ever queued.
    queued_bytes: u64,
    synced_once: bool,
}

impl Sender {
    /// Starts a thread for each connection; they become the channels 0, 1, ... in this order. Each
    /// sends its initial packet at once. Returns when the method is set up on all of them.
    ///
    /// # Errors
    /// No connection or more than 255; a thread cannot be started; the method cannot be set up.
    pub fn start(
        config: &SenderConfig,
        memory: GuestMemory,
        method: &Arc<dyn MultifdMethods>,
        connections: Vec<Box<dyn Transport>>,
    ) -> Result<Self, Error> {
        let (control, threads) = (Control::new(), ThreadGroup::default());
        log::info!(
            "sending with {}: {}",
            method.name(),
            method.implementation()
        );
        match Lanes::start(config, &memory, method, connections, (&control, &threads)) {
            Ok(lanes) => Ok(Self {
                memory,
                control,
                threads,
                lanes,
                join_limit: config.limits.threads,
                lists_zero_pages: config.zero_pages,
                current: None,
                queued_bytes: 0,
                synced_once: false,
            }),
            Err(error) => {
                control.fail(error.clone());
                threads.join(config.limits.threads);
                Err(error)
            }
        }
    }

    /// From now on the destination may take nothing for longer than the limit while it is `excused`. Asked
    /// when the limit is over.
    pub fn set_excuse(&mut self, excused: impl Fn() -> bool + Send + 'static) {
        self.lanes.set_excuse(Excuse(Box::new(excused)));
    }

    /// The channels got nothing to do for so long, to keep to a bandwidth: for an adapting sender that is a limit like
    /// a link's.
    pub fn held_back(&self, time: Duration) {
        if let Some(steering) = self.lanes.steering() {
            steering.held(time);
        }
    }

    /// The guest has been paused, and waits for what is still to be sent: an adapting sender uses nothing from now on
    /// that takes long.
    pub fn guest_paused(&self) {
        if let Some(steering) = self.lanes.steering() {
            steering.pause();
        }
    }

    /// The memory that is sent.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Queues one page: it is read some time before the next [`Self::wait_sent`] returns. Between
    /// two calls of [`Self::sync`] a page may be queued once.
    ///
    /// # Errors
    /// The page is not a page of this memory; no SYNC was sent yet; or the migration failed.
    pub fn queue(&mut self, block: BlockIndex, offset: u64) -> Result<(), Error> {
        self.queue_run(block, offset, 1)
    }

    /// Queues `pages` adjacent pages. As [`Self::queue`].
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub fn queue_run(&mut self, block: BlockIndex, offset: u64, pages: u64) -> Result<(), Error> {
        self.check_pages(block, offset, pages)?;
        self.queue_pages((block, Content::Read), offset, pages)
    }

    /// Queues `pages` adjacent pages that [nobody has touched](RamBlock::for_each_touched): they are zero, and are not
    /// read. As [`Self::queue_run`].
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub fn queue_untouched(
        &mut self,
        block: BlockIndex,
        offset: u64,
        pages: u64,
    ) -> Result<(), Error> {
        self.check_pages(block, offset, pages)?;
        self.queue_pages((block, Content::Untouched), offset, pages)
    }

    /// Refuses pages that cannot be queued.
    fn check_pages(&self, block: BlockIndex, offset: u64, pages: u64) -> Result<(), Error> {
        self.control.check()?;
        let page_size = self.memory.page_size();
        let end = pages
            .checked_mul(page_size.bytes_u64())
            .and_then(|len| offset.checked_add(len));
        let ram = self
            .memory
            .block(block)
            .ok_or_else(|| caller("no such RAM block"))?;
        if !page_size.is_aligned(offset) || end.is_none_or(|end| end > ram.len()) {
            let what = format!(
                "{pages} pages are not pages of a block of {:#x} bytes",
                ram.len()
            );
            return Err(caller(what).at(Place::default().block(ram.name().as_str()).offset(offset)));
        }
        if !self.synced_once {
            return Err(caller(
                "pages before the first SYNC: the destination has no memory yet",
            ));
        }
        Ok(())
    }

    /// Hands over what is queued, though it is less than a packet.
    ///
    /// # Errors
    /// The migration failed.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.control.check()?;
        if let Some((channel, batch)) = self.current.take() {
            self.lanes.give(channel, Job::Pages(batch))?;
        }
        Ok(())
    }

    /// Hands over what is queued if it is at least `pages` pages: to spread few pages over all
    /// channels.
    ///
    /// # Errors
    /// The migration failed.
    pub fn flush_from(&mut self, pages: u64) -> Result<(), Error> {
        let queued = self.current.as_ref();
        if queued.is_some_and(|(_, batch)| batch.len() as u64 >= pages) {
            return self.flush();
        }
        Ok(())
    }

    /// Puts a barrier behind everything queued so far: one SYNC packet on each channel. The main
    /// channel must carry a sync point at the same place. Does not wait for the packets to be sent.
    ///
    /// # Errors
    /// The migration failed.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.synced_once = true;
        self.lanes.give_sync()
    }

    /// Sends a piece of device state on a channel that is free. Only with a method that leaves
    /// pages as they are does QEMU send such packets.
    ///
    /// # Errors
    /// No byte or more than 64 MiB, an id string of no or more than 255 bytes or with a NUL; or the
    /// migration failed.
    pub fn device_state(&mut self, state: DeviceState) -> Result<(), Error> {
        let len = u32::try_from(state.data.len());
        if !len.is_ok_and(|len| (1..=DeviceStateHeader::MAX_PAYLOAD).contains(&len))
            || !(1..=255).contains(&state.idstr.len())
            || state.idstr.contains('\0')
        {
            return Err(caller(format!(
                "device state of {state}: wanted 1 to {} bytes and an id string of 1 to 255 without NUL",
                DeviceStateHeader::MAX_PAYLOAD
            )));
        }
        let (channel, batch) = self.lanes.idle_batch()?;
        self.lanes
            .give(channel, Job::DeviceState(Box::new((state, batch))))
    }

    /// Hands over what is queued and waits until all of it, SYNC packets included, has been given
    /// to the connections.
    ///
    /// # Errors
    /// The migration failed.
    pub fn wait_sent(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.lanes.wait_sent()
    }

    /// Sends what is still queued, ends the threads and closes the connections. To be called when
    /// the destination has confirmed, or when nothing is to be confirmed: QEMU takes the end of a
    /// channel before that for a failure.
    ///
    /// # Errors
    /// The migration failed.
    pub fn finish(mut self) -> Result<MigrationStats, Error> {
        self.wait_sent()?;
        self.control.finish();
        self.threads.join(self.join_limit);
        self.control.check()?;
        Ok(self.stats())
    }

    /// What has been sent so far.
    pub fn stats(&self) -> MigrationStats {
        self.monitor().stats()
    }

    /// What has been sent so far, to be asked from any thread.
    pub fn monitor(&self) -> Monitor {
        let page_size = OnceLock::from(self.memory.page_size());
        Monitor::new(self.lanes.counters(), Arc::new(page_size))
    }

    /// Bytes of guest memory that are queued or being sent.
    pub fn in_flight_bytes(&self) -> u64 {
        let sent = self.monitor().total().guest_bytes;
        self.queued_bytes.saturating_sub(sent)
    }

    /// What aborts this migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.control.handle()
    }

    /// Fills batches with pages that are known to be pages of the block.
    fn queue_pages(
        &mut self,
        (block, content): (BlockIndex, Content),
        offset: u64,
        pages: u64,
    ) -> Result<(), Error> {
        let page_size = self.memory.page_size().bytes_u64();
        self.queued_bytes += pages * page_size;
        let mut offsets = (0..pages).map(|page| offset + page * page_size).peekable();
        while offsets.peek().is_some() {
            if self
                .current
                .as_ref()
                .is_some_and(|(_, batch)| !self.may_join(batch, block, content))
            {
                self.flush()?;
            }
            let (channel, mut batch) = match self.current.take() {
                Some(current) => current,
                None => self.lanes.idle_batch()?,
            };
            batch.block = Some(block);
            let room = batch.room();
            match content {
                Content::Read => &mut batch.offsets,
                Content::Untouched => &mut batch.untouched,
            }
            .extend(offsets.by_ref().take(room));
            if batch.room() == 0 {
                self.lanes.give(channel, Job::Pages(batch))?;
            } else {
                self.current = Some((channel, batch));
            }
        }
        Ok(())
    }

    /// Whether more pages go into a batch. The content of the pages of one packet comes from one block.
    fn may_join(&self, batch: &Batch, block: BlockIndex, content: Content) -> bool {
        let of_one_kind = match content {
            Content::Read => batch.untouched.is_empty(),
            Content::Untouched => batch.offsets.is_empty(),
        };
        batch.block == Some(block) && (self.lists_zero_pages || of_one_kind)
    }
}

/// How the content of pages is known.
#[derive(Clone, Copy)]
enum Content {
    Read,
    Untouched,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.control.fail(Error::aborted());
        self.threads.join(self.join_limit);
    }
}
