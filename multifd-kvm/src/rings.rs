//! The rings of all vCPUs, emptied together.

use std::io;

use crate::raw::{Entry, GfnRing};

/// All rings, and what KVM has not got back of them.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    rings: Vec<GfnRing>,
    /// Entries that were taken and not reset: the pages of these are not write-protected yet.
    unreset: u64,
}

/// What was in the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Emptied {
    pub(crate) entries: u64,
    /// KVM may have written over entries before they were taken: writes are not known of, and their
    /// pages are not write-protected.
    pub(crate) overrun: bool,
}

impl Rings {
    pub(crate) fn add(&mut self, ring: GfnRing) {
        self.rings.push(ring);
    }

    /// Takes all entries, and has KVM take them back: `reset` does it and answers of how many.
    ///
    /// A reset leaves entries for the next one if a signal for this thread comes, so this goes on until
    /// none is left.
    pub(crate) fn empty(
        &mut self,
        mut entry: impl FnMut(Entry),
        mut reset: impl FnMut() -> io::Result<u32>,
    ) -> io::Result<Emptied> {
        let mut emptied = Emptied::default();
        for _ in 0..MOST_RESETS {
            for ring in &mut self.rings {
                while let Some(taken) = ring.take() {
                    self.unreset += 1;
                    emptied.entries += 1;
                    entry(taken);
                }
                emptied.overrun |= ring.is_overrun();
            }
            if self.unreset > 0 {
                let count = match reset() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                    answer => answer?,
                };
                self.unreset = self.unreset.saturating_sub(count.into());
            }
            if self.unreset == 0 {
                self.rings.iter_mut().for_each(GfnRing::all_reset);
                return Ok(emptied);
            }
        }
        // KVM waits for an entry that it has filled once more than it was taken.
        emptied.overrun = true;
        Ok(emptied)
    }

    /// Makes room in rings that were overrun, so that their vCPUs can run on. Nothing is logged any more.
    pub(crate) fn give_up(&mut self, mut reset: impl FnMut() -> io::Result<u32>) {
        for _ in 0..MOST_RESETS {
            let given: u32 = self.rings.iter_mut().map(GfnRing::give_up).sum();
            if given == 0 && !matches!(reset(), Ok(1..)) {
                break;
            }
        }
    }
}

/// A reset with a signal comes back at once, and the next one goes on once the signal was handled.
const MOST_RESETS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::FakeRing;

    fn rings(fakes: &[&FakeRing]) -> Rings {
        let mut rings = Rings::default();
        fakes.iter().for_each(|fake| rings.add(fake.map()));
        rings
    }

    fn pages(rings: &mut Rings, reset: impl FnMut() -> io::Result<u32>) -> (Vec<u64>, bool) {
        let mut pages = Vec::new();
        let emptied = rings.empty(|entry| pages.push(entry.page), reset).unwrap();
        assert_eq!(emptied.entries, pages.len() as u64);
        (pages, emptied.overrun)
    }

    #[test]
    fn all_rings_are_emptied_and_reset() {
        let (a, b) = (FakeRing::new(8), FakeRing::new(8));
        let mut rings = rings(&[&a, &b]);
        for turn in 0..5 {
            for ring in [&a, &a, &b] {
                ring.push(turn);
            }
            let got = pages(&mut rings, || Ok(a.reset(8) + b.reset(8)));
            assert_eq!(got, (vec![turn; 3], false));
        }
        let none = pages(&mut rings, || panic!("there is nothing to reset"));
        assert_eq!(none, (vec![], false));
    }

    #[test]
    fn a_reset_that_a_signal_ends_is_continued() {
        let ring = FakeRing::new(8);
        let mut rings = rings(&[&ring]);
        (0..5).for_each(|page| ring.push(page));
        let mut answers = vec![3, 2, 1, 0];
        let got = pages(&mut rings, || match answers.pop() {
            Some(0) => Err(io::ErrorKind::Interrupted.into()),
            Some(most) => Ok(ring.reset(most)),
            None => panic!("all is reset"),
        });
        assert_eq!(got, (vec![0, 1, 2, 3, 4], false));
        assert!(answers.is_empty());
    }

    #[test]
    fn an_overrun_is_seen() {
        let ring = FakeRing::new(8);
        let mut rings = rings(&[&ring]);
        // The first three are lost.
        (0..11).for_each(|page| ring.push(page));
        let got = pages(&mut rings, || Ok(ring.reset(8)));
        assert_eq!(got, (vec![8, 9, 10, 3, 4, 5, 6, 7], true));
        // KVM is three entries ahead.
        assert_eq!(ring.used(), 3);
        (11..13).for_each(|page| ring.push(page));
        rings.give_up(|| Ok(ring.reset(8)));
        assert_eq!(ring.used(), 0);
    }

    #[test]
    fn an_overrun_after_the_ring_was_emptied_is_seen() {
        let ring = FakeRing::new(8);
        let mut rings = rings(&[&ring]);
        (0..6).for_each(|page| ring.push(page));
        // Before the reset KVM fills what it has not got back.
        let mut more = 6..10;
        let got = pages(&mut rings, || {
            more.by_ref().for_each(|page| ring.push(page));
            Ok(ring.reset(8))
        });
        assert_eq!(got, ((0..10).collect(), true));
    }

    #[test]
    fn a_full_ring_that_is_not_overrun_may_be_one() {
        let ring = FakeRing::new(8);
        let mut rings = rings(&[&ring]);
        (0..7).for_each(|page| ring.push(page));
        assert!(!pages(&mut rings, || Ok(ring.reset(8))).1);
        (0..8).for_each(|page| ring.push(page));
        assert!(pages(&mut rings, || Ok(ring.reset(8))).1);
    }
}
