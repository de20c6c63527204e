//! The device as one channel uses it: page by page, with a count of what it did and why it did not.

use std::time::Duration;

use multifd_core::MethodError;
use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts, Tally};

use crate::process::Driver;
use crate::session::{Operation, Session};
use crate::zlib::NAME;

/// A channel's device, or its absence.
#[derive(Debug)]
pub(crate) struct Device {
    /// Whether the method has a device, though this channel may have got no session.
    wanted: bool,
    session: Option<Session>,
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

impl Device {
    /// A session for pages of `page_size` bytes, if there is a driver. With `patience`, it has to do every page that
    /// is for a device, and may be busy for so long.
    pub(crate) fn new(
        driver: Option<&Driver>,
        operation: Operation,
        page_size: usize,
        patience: Option<Duration>,
    ) -> Self {
        // What the device writes before it finds that a page becomes larger needs room, and more than
        // deflate's bound.
        let output = match operation {
            Operation::Compress => 2 * page_size,
            Operation::Decompress => page_size,
        };
        Self {
            wanted: driver.is_some(),
            session: driver.and_then(|driver| Session::new(driver, operation, page_size, output)),
            counts: PathCounts::default(),
            packet: None,
            reason: None,
            patience,
            told: false,
        }
    }

    /// Whether the method has a device, but this channel got no session.
    pub(crate) fn is_missing(&self) -> bool {
        self.wanted && self.session.is_none()
    }

    /// What the device makes of `source`; `None` if it is not there or fails.
    pub(crate) fn run(&mut self, source: &[u8]) -> Option<&[u8]> {
        if !self.wanted {
            return None;
        }
        let packet = self.packet.get_or_insert(Tally::new(CodecPath::Hardware));
        let Some(session) = &mut self.session else {
            packet.fell_back(Fallback::NoDevice);
            self.reason.get_or_insert(Fallback::NoDevice);
            return None;
        };
        let made = match self.patience {
            Some(limit) => session.run_patiently(source, limit),
            None => session.run(source),
        };
        made.inspect_err(|reason| {
            packet.fell_back(*reason);
            self.reason.get_or_insert(*reason);
        })
        .ok()
    }

    /// What it made of a page of this packet is of no use.
    pub(crate) fn failed(&mut self) {
        if let Some(packet) = &mut self.packet {
            packet.fell_back(Fallback::Failed);
            self.reason.get_or_insert(Fallback::Failed);
        }
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
}
