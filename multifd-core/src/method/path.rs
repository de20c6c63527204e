// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which implementation did the work of a channel.
//!
//! A method whose format an accelerator knows can be done by the device, by the software that the
//! accelerator's vendor ships, or by this project's own. All make the same format, at another
//! price. What really happened is counted per packet, so that a fallback is never silent.

/// The implementation that makes or reads a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecPath {
    /// An accelerator, all of the packet.
    Hardware,
    /// The vendor's library without its device, at least a part of the packet.
    VendorSoftware,
    /// The method's own implementation, at least a part of the packet.
    Software,
}

impl CodecPath {
    /// Every path, the fastest first.
    pub const ALL: [Self; 3] = [Self::Hardware, Self::VendorSoftware, Self::Software];

    /// Its name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::VendorSoftware => "vendor-software",
            Self::Software => "software",
        }
    }
}

/// Why a packet was not done by the implementation that was to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// The device is gone, or none could be had.
    NoDevice,
    /// The device's queues were full for too long.
    Busy,
    /// The device or its library answered an error.
    Failed,
    /// What the device made did not fit.
    NoRoom,
    /// The device does not take this payload, though it is legal.
    Unsupported,
}

impl Fallback {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::NoDevice,
        Self::Busy,
        Self::Failed,
        Self::NoRoom,
        Self::Unsupported,
    ];

    /// Its name in logs and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoDevice => "no-device",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoRoom => "no-room",
            Self::Unsupported => "unsupported",
        }
    }
}

/// How one packet is done: by one implementation, but for the pages that needed another.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    path: CodecPath,
    /// Of which reasons there was one.
    reasons: [bool; Fallback::ALL.len()],
}

impl Tally {
    /// A packet that `path` is to do.
    pub fn new(path: CodecPath) -> Self {
        Self {
            path,
            reasons: [false; Fallback::ALL.len()],
        }
    }

    /// A page was done by the method's own software instead.
    pub fn fell_back(&mut self, reason: Fallback) {
        self.path = CodecPath::Software;
        for (known, each) in self.reasons.iter_mut().zip(Fallback::ALL) {
            *known |= each == reason;
        }
    }

    /// Counts the packet once, and each of its reasons once.
    pub fn count_in(self, counts: &mut PathCounts) {
        counts.count(self.path);
        for (reason, known) in Fallback::ALL.into_iter().zip(self.reasons) {
            if known {
                counts.fell_back(reason);
            }
        }
    }
}

/// How many packets with payload each implementation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathCounts {
    packets: [u64; CodecPath::ALL.len()],
    fallbacks: [u64; Fallback::ALL.len()],
}

impl PathCounts {
    /// Counts a packet that `path` did.
    pub fn count(&mut self, path: CodecPath) {
        self.add_packets(path, 1);
    }

    /// Counts a packet that fell back; [`Self::count`] says to what.
    pub fn fell_back(&mut self, reason: Fallback) {
        self.add_fallbacks(reason, 1);
    }

    /// Packets that `path` did.
    pub fn packets(&self, path: CodecPath) -> u64 {
        let [hardware, vendor_software, software] = self.packets;
        match path {
            CodecPath::Hardware => hardware,
            CodecPath::VendorSoftware => vendor_software,
            CodecPath::Software => software,
        }
    }

    /// Packets that fell back for `reason`.
    pub fn fallbacks(&self, reason: Fallback) -> u64 {
        let [no_device, busy, failed, no_room, unsupported] = self.fallbacks;
        match reason {
            Fallback::NoDevice => no_device,
            Fallback::Busy => busy,
            Fallback::Failed => failed,
            Fallback::NoRoom => no_room,
            Fallback::Unsupported => unsupported,
        }
    }

    /// Packets that fell back for any reason.
    pub fn all_fallbacks(&self) -> u64 {
        self.fallbacks.iter().sum()
    }

    pub(crate) fn add_packets(&mut self, path: CodecPath, packets: u64) {
        for (count, each) in self.packets.iter_mut().zip(CodecPath::ALL) {
            *count += if each == path { packets } else { 0 };
        }
    }

    pub(crate) fn add_fallbacks(&mut self, reason: Fallback, packets: u64) {
        for (count, each) in self.fallbacks.iter_mut().zip(Fallback::ALL) {
            *count += if each == reason { packets } else { 0 };
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for path in CodecPath::ALL {
            self.add_packets(path, other.packets(path));
        }
        for reason in Fallback::ALL {
            self.add_fallbacks(reason, other.fallbacks(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_counts_once() {
        let mut counts = PathCounts::default();
        Tally::new(CodecPath::Hardware).count_in(&mut counts);
        let mut tally = Tally::new(CodecPath::Hardware);
        tally.fell_back(Fallback::Busy);
        tally.fell_back(Fallback::Busy);
        tally.fell_back(Fallback::Unsupported);
        tally.count_in(&mut counts);
        assert_eq!(counts.packets(CodecPath::Hardware), 1);
        assert_eq!(counts.packets(CodecPath::Software), 1);
        assert_eq!(counts.fallbacks(Fallback::Busy), 1);
        assert_eq!(counts.fallbacks(Fallback::Unsupported), 1);
        assert_eq!(counts.all_fallbacks(), 2);
    }

    #[test]
    fn counts_add_up() {
        let mut one = PathCounts::default();
        one.count(CodecPath::Hardware);
        one.count(CodecPath::Software);
        one.fell_back(Fallback::Busy);
        let mut sum = one;
        sum.add(&one);
        assert_eq!(sum.packets(CodecPath::Hardware), 2);
        assert_eq!(sum.packets(CodecPath::VendorSoftware), 0);
        assert_eq!(sum.packets(CodecPath::Software), 2);
        assert_eq!(sum.fallbacks(Fallback::Busy), 2);
        assert_eq!(sum.fallbacks(Fallback::NoRoom), 0);
        assert_eq!(sum.all_fallbacks(), 2);
    }
}
