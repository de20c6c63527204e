//! The device as one channel uses it: page by page, with a count of what it did and why it did not.

use multifd_core::method::{Fallback, Path, PathCounts};

use crate::session::{Driver, Operation, Session};

/// A channel's device, or its absence.
#[derive(Debug)]
pub(crate) struct Device {
    /// Whether the method has a device, though this channel may have got no session.
    wanted: bool,
    session: Option<Session>,
    counts: PathCounts,
    /// Whether a page of this packet was for the device.
    asked: bool,
    /// Why a page of this packet was not done by it: the first reason.
    reason: Option<Fallback>,
}

impl Device {
    /// A session for pages of `page_size` bytes, if there is a driver.
    pub(crate) fn new(driver: Option<&Driver>, operation: Operation, page_size: usize) -> Self {
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
            asked: false,
            reason: None,
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
        self.asked = true;
        let made = match &mut self.session {
            Some(session) => session.run(source),
            None => Err(Fallback::NoDevice),
        };
        match made {
            Ok(made) => Some(made),
            Err(reason) => {
                self.reason.get_or_insert(reason);
                None
            }
        }
    }

    /// What it made of a page of this packet is of no use.
    pub(crate) fn failed(&mut self) {
        self.reason.get_or_insert(Fallback::Failed);
    }

    /// Counts a packet.
    pub(crate) fn end_packet(&mut self) {
        let all = std::mem::take(&mut self.asked) && self.reason.is_none();
        self.counts
            .count(if all { Path::Hardware } else { Path::Software });
        if let Some(reason) = self.reason.take() {
            self.counts.fell_back(reason);
        }
    }

    /// The counts of all packets so far.
    pub(crate) fn counts(&self) -> PathCounts {
        self.counts
    }
}
