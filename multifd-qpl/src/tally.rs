//! How one packet was done.

use multifd_core::method::{Fallback, Path, PathCounts};

/// Starts as a packet that one implementation does, and takes down which of its pages needed another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    path: Path,
    /// A bit for each reason, by its place in [`Fallback::ALL`].
    reasons: u8,
}

impl Tally {
    pub(crate) fn new(path: Path) -> Self {
        Self { path, reasons: 0 }
    }

    /// A page was done by this project's software.
    pub(crate) fn fell_back(&mut self, reason: Fallback) {
        self.path = Path::Software;
        for (bit, known) in Fallback::ALL.into_iter().enumerate() {
            if known == reason {
                self.reasons |= 1 << bit;
            }
        }
    }

    /// Counts the packet, once, and each reason once.
    pub(crate) fn count_in(self, counts: &mut PathCounts) {
        counts.count(self.path);
        for (bit, reason) in Fallback::ALL.into_iter().enumerate() {
            if self.reasons & 1 << bit != 0 {
                counts.fell_back(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_counts_once() {
        let mut counts = PathCounts::default();
        Tally::new(Path::Hardware).count_in(&mut counts);
        let mut tally = Tally::new(Path::Hardware);
        tally.fell_back(Fallback::Busy);
        tally.fell_back(Fallback::Busy);
        tally.fell_back(Fallback::Unsupported);
        tally.count_in(&mut counts);
        assert_eq!(counts.packets(Path::Hardware), 1);
        assert_eq!(counts.packets(Path::Software), 1);
        assert_eq!(counts.fallbacks(Fallback::Busy), 1);
        assert_eq!(counts.all_fallbacks(), 2);
    }
}
