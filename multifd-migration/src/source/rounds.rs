// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Rounds over dirty memory.

use std::time::Instant;

use migration_params::ZeroPageDetection;
use multifd_core::memory::BlockIndex;
use multifd_core::{Error, GuestMemory, Sender};

use super::convergence::Pass;
use super::dirty_memory::{DirtyMemory, Fetched, LastFetch};
use super::pacer::Pacer;
use super::supervised::Supervised;
use super::untouched::take_untouched;
use super::zero_scan::ZeroScan;
use super::{Source, SourceEvent, SourceHost};
use crate::dirty::{Chunk, PageRun, Walk};
use crate::host_error::refused;
use crate::stream::RamSection;

/// What ends a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundEnd {
    /// All that was dirty at its start has been queued.
    Complete,
    /// The migration has taken too long.
    OverTime,
}

impl Source {
    /// Sends all pages that are dirty, in one RAM section. With the guest `paused` nothing holds
    /// the round back, and the log is left alone.
    pub(super) fn send_round(
        &mut self,
        host: &mut dyn SourceHost,
        dirty: &mut DirtyMemory,
        paused: bool,
    ) -> Result<RoundEnd, Error> {
        let memory = self.sender.memory().clone();
        let page_size = memory.page_size();
        let pacer = Pacer::new(&self.sender, self.handle.clone());
        // What is dirty later has been written to.
        let is_first = self.passes() == 1;
        let mut remaining = dirty.pages();
        let batch = self.batch_pages(remaining);
        let mut section = if paused {
            self.stream.ram_end()?
        } else {
            self.stream.ram_part()?
        };
        let mut queue = Queue {
            memory: &memory,
            zero_pages: self.config.zero_pages,
            scan: &self.zero_scan,
            sender: &mut self.sender,
            section: &mut section,
            main_zero_pages: &mut self.main_zero_pages,
            pacer: (!paused).then_some(&pacer),
            batch,
            unpaced: 0,
            last: Content::Read,
        };
        let mut end = RoundEnd::Complete;
        let blocks = memory.indexed().zip(dirty.blocks_mut());
        'blocks: for (position, ((index, block), bitmap)) in blocks.enumerate() {
            let mut walk = Walk::new(index);
            loop {
                let log = (!paused).then(|| host.dirty_log());
                let Some(mut chunk) = walk.next(bitmap, log).map_err(refused)? else {
                    break;
                };
                // Where the pages would be read: a write that comes too late for this look is in the log.
                let untouched = is_first.then(|| take_untouched(block, page_size, &mut chunk));
                let untouched = untouched.iter().flat_map(Chunk::runs);
                let runs = untouched.map(|run| (Content::Untouched, run));
                for (content, run) in runs.chain(chunk.runs().map(|run| (Content::Read, run))) {
                    queue.run((position, index), content, run)?;
                    remaining -= run.pages;
                    self.handle.set_remaining_pages(remaining);
                }
                if !paused && self.config.passed_limit(self.start).is_some() {
                    end = RoundEnd::OverTime;
                    break 'blocks;
                }
            }
        }
        section.sync()?;
        section.finish()?;
        self.stream.flush()?;
        let main_bytes = self.stream.writer_mut().offset();
        self.handle.set_main(main_bytes, self.main_zero_pages);
        self.sender.sync()?;
        Ok(end)
    }

    /// Fetches the dirty log while the channels still send, and takes note of how it goes.
    pub(super) fn fetch(
        &mut self,
        host: &mut Supervised<'_>,
        dirty: &mut DirtyMemory,
    ) -> Result<Fetched, Error> {
        let before = dirty.pages();
        let start = Instant::now();
        let memory = self.sender.memory().clone();
        dirty.harvest(&memory, host.host)?;
        let time = start.elapsed();
        let page_size = memory.page_size().bytes_u64();
        let total = self.sender.monitor().total();
        let normal_bytes = total.normal_pages * page_size;
        let dirtied_pages = dirty.pages().saturating_sub(before);
        let pass = Pass {
            time: start.duration_since(self.last_fetch.at),
            normal_bytes: normal_bytes.saturating_sub(self.last_fetch.normal_bytes),
            wire_bytes: total.wire_bytes.saturating_sub(self.last_fetch.wire_bytes),
            fetch: time,
        };
        let fetched = Fetched {
            dirtied: dirtied_pages * page_size,
            sent: total
                .guest_bytes
                .saturating_sub(self.last_fetch.guest_bytes),
        };
        self.last_fetch = LastFetch {
            at: start,
            normal_bytes,
            guest_bytes: total.guest_bytes,
            wire_bytes: total.wire_bytes,
        };
        self.convergence.passed(&pass);
        self.note_fetch(
            dirty.pages(),
            dirtied_pages as f64 / pass.time.as_secs_f64().max(1e-6),
        );
        host.host.event(&SourceEvent::Pass(self.passes()));
        Ok(fetched)
    }

    /// Publishes what a fetch has found.
    fn note_fetch(&self, dirty_pages: u64, dirty_pages_rate: f64) {
        self.handle.set_remaining_pages(dirty_pages);
        let (remaining, tuning) = (self.handle.remaining_bytes(), self.handle.tuning());
        self.end_round();
        self.handle.update(|state| {
            state.passes += 1;
            state.dirty_pages_rate = dirty_pages_rate;
            state.expected_down_time = self.convergence.expected_down_time(remaining, &tuning);
            state.expected_remaining = self.convergence.time_to_send(remaining, &tuning);
        });
    }

    /// Publishes what a round has sent.
    pub(super) fn end_round(&self) {
        let page_size = self.sender.memory().page_size().bytes_u64();
        let sent = self.handle.sent();
        self.handle.update(|state| state.end_round(sent, page_size));
    }

    /// Pages per batch: whole packets, but in a small round few enough for all channels to get
    /// some.
    fn batch_pages(&self, dirty: u64) -> u64 {
        let most = self.sender.memory().page_size().pages_per_packet() as u64;
        let channels = self.sender.stats().channels.len().max(1) as u64;
        dirty.div_ceil(channels).clamp(most.div_ceil(8), most)
    }
}

/// How the content of pages is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Read,
    /// It is zero.
    Untouched,
}

/// Where the pages of a round go.
struct Queue<'a, 's> {
    memory: &'a GuestMemory,
    zero_pages: ZeroPageDetection,
    /// For zero pages that go on the main channel.
    scan: &'a ZeroScan,
    sender: &'a mut Sender,
    section: &'a mut RamSection<'s>,
    main_zero_pages: &'a mut u64,
    pacer: Option<&'a Pacer>,
    batch: u64,
    /// How many pages may be queued before the pacer is asked again.
    unpaced: u64,
    /// What was queued last.
    last: Content,
}

impl Queue<'_, '_> {
    /// Queues a run of a block, a batch at a time.
    fn run(
        &mut self,
        block: (usize, BlockIndex),
        content: Content,
        run: PageRun,
    ) -> Result<(), Error> {
        let page_size = self.memory.page_size().bytes_u64();
        let end = run.first_page + run.pages;
        let mut page = run.first_page;
        if std::mem::replace(&mut self.last, content) != content {
            // The pacer takes what is queued for as many bytes as it is in memory.
            self.sender.flush()?;
        }
        while page < end {
            let pages = self.batch.min(end - page);
            self.pace(content, pages)?;
            let offset = page * page_size;
            match (self.zero_pages, content) {
                (ZeroPageDetection::Legacy, _) => self.legacy(block, content, offset, pages)?,
                (_, Content::Read) => self.sender.queue_run(block.1, offset, pages)?,
                (_, Content::Untouched) => self.sender.queue_untouched(block.1, offset, pages)?,
            }
            self.sender.flush_from(self.batch)?;
            page += pages;
        }
        Ok(())
    }

    /// Waits until pages may be queued, once for each batch however short the runs are: less is not sent anyway.
    fn pace(&mut self, content: Content, pages: u64) -> Result<(), Error> {
        let is_sent = content == Content::Read || self.zero_pages == ZeroPageDetection::None;
        let Some(pacer) = self.pacer.filter(|_| is_sent) else {
            return Ok(());
        };
        if self.unpaced < pages {
            pacer.wait(self.sender)?;
            self.unpaced = self.batch.max(pages);
        }
        self.unpaced -= pages;
        Ok(())
    }

    /// Sends zero pages on the main channel and queues the others.
    fn legacy(
        &mut self,
        (position, index): (usize, BlockIndex),
        content: Content,
        offset: u64,
        pages: u64,
    ) -> Result<(), Error> {
        let page_size = self.memory.page_size();
        let block = self.memory.block(index);
        for page in 0..pages {
            let offset = offset + page * page_size.bytes_u64();
            if content == Content::Untouched {
                self.section.zero_page(position, offset)?;
                *self.main_zero_pages += 1;
                continue;
            }
            let is_zero = match block {
                Some(block) => self.scan.is_zero(block, offset, page_size.bytes())?,
                None => false,
            };
            if is_zero {
                self.section.zero_page(position, offset)?;
                *self.main_zero_pages += 1;
            } else {
                self.sender.queue(index, offset)?;
            }
        }
        Ok(())
    }
}
