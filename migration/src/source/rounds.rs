//! Rounds over dirty memory.

use std::time::Instant;

use migration_params::ZeroPageDetection;
use multifd_core::memory::BlockIndex;
use multifd_core::{Error, GuestMemory, Sender};

use super::convergence::Pass;
use super::supervised::Supervised;
use super::{Event, Source, SourceHost, refused};
use crate::dirty::{DirtyBitmap, PageRun};
use crate::pacer::Pacer;
use crate::stream::RamSection;

/// What ends a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundEnd {
    /// All that was dirty at its start has been queued.
    Complete,
    /// The migration has taken too long.
    OverTime,
}

/// The dirty pages of all blocks.
#[derive(Debug)]
pub(super) struct DirtyMemory {
    blocks: Vec<DirtyBitmap>,
}

impl DirtyMemory {
    /// All of `memory` is dirty.
    pub(super) fn all(memory: &GuestMemory) -> Self {
        let page_size = memory.page_size().bytes_u64();
        let blocks = memory.blocks().iter();
        Self {
            blocks: blocks
                .map(|block| DirtyBitmap::dirty(block.len() / page_size))
                .collect(),
        }
    }

    /// Dirty pages of all blocks.
    pub(super) fn pages(&self) -> u64 {
        self.blocks.iter().map(DirtyBitmap::dirty_pages).sum()
    }

    /// Adds what was written to since the last time.
    pub(super) fn harvest(
        &mut self,
        memory: &GuestMemory,
        host: &mut dyn SourceHost,
    ) -> Result<(), Error> {
        for ((index, _), dirty) in memory.indexed().zip(&mut self.blocks) {
            let log = host.dirty_log();
            log.harvest(index, dirty).map_err(refused)?;
        }
        Ok(())
    }
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
        let pacer = Pacer::new(&self.sender, self.handle.clone());
        let batch = self.batch_pages(dirty.pages());
        let mut section = if paused {
            self.stream.ram_end()?
        } else {
            self.stream.ram_part()?
        };
        let mut queue = Queue {
            memory: &memory,
            zero_pages: self.config.zero_pages,
            sender: &mut self.sender,
            section: &mut section,
            main_zero_pages: &mut self.main_zero_pages,
            pacer: (!paused).then_some(&pacer),
            batch,
        };
        let mut remaining = dirty.pages();
        let mut end = RoundEnd::Complete;
        'blocks: for (position, (index, _)) in memory.indexed().enumerate() {
            let Some(bitmap) = dirty.blocks.get_mut(position) else {
                break;
            };
            let mut from = 0;
            while let Some(chunk) = bitmap.take_chunk(&mut from) {
                if !paused {
                    host.dirty_log().clear(index, &chunk).map_err(refused)?;
                }
                for run in chunk.runs() {
                    queue.run(position, index, run)?;
                    remaining -= run.pages;
                    self.handle.set_remaining_pages(remaining);
                }
                if !paused && self.config.is_over_time(self.start) {
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
        host.host.event(&Event::Pass(self.passes()));
        Ok(fetched)
    }

    /// Publishes what a fetch has found.
    fn note_fetch(&self, dirty_pages: u64, dirty_pages_rate: f64) {
        self.handle.set_remaining_pages(dirty_pages);
        let (remaining, tuning) = (self.handle.remaining_bytes(), self.handle.tuning());
        let sent = self.handle.sent();
        self.handle.update(|state| {
            state.passes += 1;
            state.dirty_pages_rate = dirty_pages_rate;
            state.expected_down_time = self.convergence.expected_down_time(remaining, &tuning);
            state.expected_remaining = self.convergence.time_to_send(remaining, &tuning);
            state.last_pass = sent;
        });
    }

    /// Pages per batch: whole packets, but in a small round few enough for all channels to get
    /// some.
    fn batch_pages(&self, dirty: u64) -> u64 {
        let most = self.sender.memory().page_size().pages_per_packet() as u64;
        let channels = self.sender.stats().channels.len().max(1) as u64;
        dirty.div_ceil(channels).clamp(most.div_ceil(8), most)
    }
}

/// What a fetch of the dirty log is measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastFetch {
    pub(super) at: Instant,
    pub(super) normal_bytes: u64,
    pub(super) guest_bytes: u64,
    pub(super) wire_bytes: u64,
}

impl LastFetch {
    /// Nothing has been sent yet.
    pub(super) fn none(at: Instant) -> Self {
        Self {
            at,
            normal_bytes: 0,
            guest_bytes: 0,
            wire_bytes: 0,
        }
    }
}

/// What a fetch found, in bytes of guest memory since the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) dirtied: u64,
    pub(super) sent: u64,
}

impl Fetched {
    /// Adds what the fetch after this one found.
    pub(super) fn add(&mut self, next: Self) {
        self.dirtied += next.dirtied;
        self.sent += next.sent;
    }
}

/// Where the pages of a round go.
struct Queue<'a, 's> {
    memory: &'a GuestMemory,
    zero_pages: ZeroPageDetection,
    sender: &'a mut Sender,
    section: &'a mut RamSection<'s>,
    main_zero_pages: &'a mut u64,
    pacer: Option<&'a Pacer>,
    batch: u64,
}

impl Queue<'_, '_> {
    /// Queues a run, a batch at a time.
    fn run(&mut self, position: usize, index: BlockIndex, run: PageRun) -> Result<(), Error> {
        let page_size = self.memory.page_size().bytes_u64();
        let end = run.first_page + run.pages;
        let mut page = run.first_page;
        while page < end {
            if let Some(pacer) = self.pacer {
                pacer.wait(self.sender)?;
            }
            let pages = self.batch.min(end - page);
            let offset = page * page_size;
            match self.zero_pages {
                ZeroPageDetection::Legacy => self.legacy(position, index, offset, pages)?,
                _ => self.sender.queue_run(index, offset, pages)?,
            }
            self.sender.flush_from(self.batch)?;
            page += pages;
        }
        Ok(())
    }

    /// Sends zero pages on the main channel and queues the others.
    fn legacy(
        &mut self,
        position: usize,
        index: BlockIndex,
        offset: u64,
        pages: u64,
    ) -> Result<(), Error> {
        let page_size = self.memory.page_size();
        let block = self.memory.block(index);
        for page in 0..pages {
            let offset = offset + page * page_size.bytes_u64();
            let span = block.and_then(|block| block.span(offset, page_size.bytes()));
            if span.is_some_and(|span| span.is_zero()) {
                self.section.zero_page(position, offset)?;
                *self.main_zero_pages += 1;
            } else {
                self.sender.queue(index, offset)?;
            }
        }
        Ok(())
    }
}
