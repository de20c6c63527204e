// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The device as one channel uses it: the pages of a packet, with a count of what it did and why it did not.

use std::time::{Duration, Instant};

use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError};

use crate::process::Driver;
use crate::request::{Operation, Requests, Way};
use crate::zlib::NAME;

/// A channel's way to the device, or its absence.
#[derive(Debug)]
pub(crate) struct Session {
    /// `None` if this channel got none.
    requests: Option<Requests>,
    counts: PathCounts,
    /// This packet, from the first page on that was for the device.
    packet: Option<Tally>,
    /// Why the device did not do all of this packet.
    reason: Option<Fallback>,
    /// How long it may be busy, if it has to do everything that is for a device.
    patience: Option<Duration>,
    /// Whether the first packet that fell back was told.
    told: bool,
}

impl Session {
    /// A session for pages of the channel's size. If it `must`, it has to do every page that is for a device, and
    /// may be busy for as long as the channel's accelerator may be silent.
    pub(crate) fn new(
        setup: &ChannelSetup,
        (driver, way): (&Driver, Way),
        operation: Operation,
        must: bool,
    ) -> Self {
        let page_size = setup.page_size.bytes();
        // What the device writes before it finds that a page becomes larger needs room, and more than
        // deflate's bound.
        let output = match operation {
            Operation::Compress => 2 * page_size,
            Operation::Decompress => page_size,
        };
        let limit = setup.accelerator_limit;
        let (slots, memory) = ((DEPTH, way), (page_size, output));
        Self {
            requests: Requests::new(driver, operation, slots, memory, limit),
            counts: PathCounts::default(),
            packet: None,
            reason: None,
            patience: must.then_some(limit),
            told: false,
        }
    }

    /// Whether this channel got no session of the library.
    pub(crate) fn is_missing(&self) -> bool {
        self.requests.is_none()
    }

    /// Has the device work at the pages of a packet, several at a time, and calls `finish` for each of them, in order,
    /// with what the device made of it. `source` says what a page is for the device, if it is for one at all.
    ///
    /// `finish` is given `None` where the page has to be done otherwise, and returns whether what it was given is
    /// of use.
    ///
    /// # Errors
    /// The first one of `finish`.
    pub(crate) fn each<'p, P, E>(
        &mut self,
        pages: impl Iterator<Item = P>,
        source: impl Fn(&P) -> Option<&'p [u8]>,
        mut finish: impl FnMut(P, Option<&[u8]>) -> Result<bool, E>,
    ) -> Result<(), E> {
        (self.packet, self.reason) = (None, None);
        // The oldest is the next one that is done.
        let mut waiting: [Option<(P, bool)>; DEPTH] = std::array::from_fn(|_| None);
        let mut next = 0;
        for page in pages {
            if let Some(oldest) = waiting.get_mut(next).and_then(Option::take) {
                self.finish(next, oldest, &mut finish)?;
            }
            let is_submitted = source(&page).is_some_and(|source| self.submit(next, source));
            if let Some(place) = waiting.get_mut(next) {
                *place = Some((page, is_submitted));
            }
            next = (next + 1) % DEPTH;
        }
        let (newer, older) = waiting.split_at_mut(next);
        for (slot, place) in (next..).zip(older).chain((0..).zip(newer)) {
            if let Some(oldest) = place.take() {
                self.finish(slot, oldest, &mut finish)?;
            }
        }
        Ok(())
    }

    /// Counts a packet. One without a page for the device is done in software.
    ///
    /// # Errors
    /// The device has to do everything, and did not do a page of it.
    pub(crate) fn end_packet(&mut self) -> Result<(), MethodError> {
        let packet = self
            .packet
            .take()
            .unwrap_or(Tally::new(CodecPath::Software));
        packet.count_in(&mut self.counts);
        let Some(reason) = self.reason.take() else {
            return Ok(());
        };
        let reason = reason.name();
        if self.patience.is_some() {
            let (option, choice) = (Accelerator::OPTION, Accelerator::Hardware);
            let what = format!("{option}={choice}, but the device did not do a page: {reason}");
            return Err(MethodError::device(NAME, what));
        }
        if !self.told {
            self.told = true;
            log::warn!("{NAME}: a page falls back: {reason}; more is counted, not told");
        }
        Ok(())
    }

    /// The counts of all packets so far.
    pub(crate) fn counts(&self) -> PathCounts {
        self.counts
    }

    /// Gives a page to the device; returns whether it took it.
    fn submit(&mut self, slot: usize, source: &[u8]) -> bool {
        self.packet.get_or_insert(Tally::new(CodecPath::Hardware));
        let submitted = match &mut self.requests {
            Some(requests) => patiently(self.patience, || requests.submit(slot, source)),
            None => Err(Fallback::NoDevice),
        };
        let is_submitted = submitted.is_ok();
        if let Err(reason) = submitted {
            self.fell_back(reason);
        }
        is_submitted
    }

    fn finish<P, E>(
        &mut self,
        slot: usize,
        (page, is_submitted): (P, bool),
        finish: &mut impl FnMut(P, Option<&[u8]>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let requests = self.requests.as_mut().filter(|_| is_submitted);
        let made = requests.map(|requests| requests.wait(slot));
        let reason = match made {
            None => finish(page, None).map(|_| None)?,
            Some(Ok(made)) => (!finish(page, Some(made))?).then_some(Fallback::Failed),
            Some(Err(reason)) => finish(page, None).map(|_| Some(reason))?,
        };
        if let Some(reason) = reason {
            self.fell_back(reason);
        }
        Ok(())
    }

    fn fell_back(&mut self, reason: Fallback) {
        if let Some(packet) = &mut self.packet {
            packet.fell_back(reason);
        }
        self.reason.get_or_insert(reason);
    }
}

/// Asks again for as long as others keep the device busy, if there is patience for that.
fn patiently(
    patience: Option<Duration>,
    mut submit: impl FnMut() -> Result<(), Fallback>,
) -> Result<(), Fallback> {
    let start = Instant::now();
    loop {
        match submit() {
            Err(Fallback::Busy) if patience.is_some_and(|limit| start.elapsed() < limit) => {
                std::hint::spin_loop();
            }
            result => return result,
        }
    }
}

/// How many pages of a channel are with the device at a time.
const DEPTH: usize = 8;
