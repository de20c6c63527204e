//! The device as one channel uses it: page by page, with a count of what it did and why it did not.

use multifd_core::method::{CodecPath, Fallback, PathCounts, Tally};

use crate::session::{Driver, Operation, Session};

/// A channel's device, or its absence.
#[derive(Debug)]
pub(crate) struct Device {
    /// Whether the method has a device, though this channel may have got no session.
    wanted: bool,
    session: Option<Session>,
    counts: PathCounts,
    /// This packet, from the first page on that was for the device.
    packet: Option<Tally>,
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
            packet: None,
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
        let made = match &mut self.session {
            Some(session) => session.run(source),
            None => Err(Fallback::NoDevice),
        };
        made.inspect_err(|reason| packet.fell_back(*reason)).ok()
    }

    /// What it made of a page of this packet is of no use.
    pub(crate) fn failed(&mut self) {
        if let Some(packet) = &mut self.packet {
            packet.fell_back(Fallback::Failed);
        }
    }

    /// Counts a packet. One without a page for the device is done in software.
    pub(crate) fn end_packet(&mut self) {
        let packet = self
            .packet
            .take()
            .unwrap_or(Tally::new(CodecPath::Software));
        packet.count_in(&mut self.counts);
    }

    /// The counts of all packets so far.
    pub(crate) fn counts(&self) -> PathCounts {
        self.counts
    }
}
