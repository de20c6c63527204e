// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rings of all vCPUs, emptied together.

use std::io;

use crate::raw::{Entry, GfnRing};

/// All rings, and what KVM has not got back of them.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    rings: Vec<GfnRing>,
    /// Entries that were given back and not reset: the pages of these are not write-protected yet.
    unreset: u64,
    /// KVM has reset some of them, and it is not known of which rings.
    is_partial: bool,
}

/// What was in the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Emptied {
    pub(crate) entries: u64,
    /// KVM may have written over entries before they were taken: writes are not known of, and their
    /// pages are not write-protected. Once nothing is logged any more, the rings are to be
    /// [recovered](Rings::recover).
    pub(crate) overrun: bool,
}

impl Rings {
    /// Adds a ring. Returns which one it is.
    pub(crate) fn add(&mut self, ring: GfnRing) -> usize {
        self.rings.push(ring);
        self.rings.len() - 1
    }

    /// Takes all entries, and has KVM take them back: `reset` does it and returns how many.
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
                self.unreset += u64::from(ring.find());
                while let Some(taken) = ring.take() {
                    self.unreset += 1;
                    emptied.entries += 1;
                    entry(taken);
                }
                emptied.overrun |= ring.is_overrun();
            }
            if emptied.overrun {
                return Ok(emptied);
            }
            if self.unreset == 0 || self.reset_some(&mut reset)? {
                return Ok(emptied);
            }
        }
        // KVM waits for an entry that it has filled once more than it was taken.
        emptied.overrun = true;
        Ok(emptied)
    }

    /// Brings the rings in step with KVM again after an overrun, while nothing is written into them any more. Returns whether that
    /// was possible: it is not known how far KVM is with a ring that it was resetting when it was overrun.
    pub(crate) fn recover(&mut self, mut reset: impl FnMut() -> io::Result<u32>) -> bool {
        if self.is_partial {
            return false;
        }
        for ring in &mut self.rings {
            ring.give_filled();
            if ring.is_overrun() {
                ring.give_all();
            }
        }
        self.unreset = self
            .rings
            .iter()
            .map(|ring| u64::from(ring.unreset()))
            .sum();
        self.reset_all(&mut reset)
    }

    /// Makes room for a vCPU that stopped because its ring is full, if nothing else has: it was overrun, and all that
    /// KVM waits for is entries that it has written over. Returns whether KVM has got back what was given to it.
    pub(crate) fn make_room(
        &mut self,
        ring: usize,
        mut reset: impl FnMut() -> io::Result<u32>,
    ) -> bool {
        let Some(ring) = self.rings.get_mut(ring) else {
            return true;
        };
        self.unreset += u64::from(ring.give_full());
        ring.forget_given();
        self.reset_all(&mut reset)
    }

    fn reset_all(&mut self, reset: &mut impl FnMut() -> io::Result<u32>) -> bool {
        (0..MOST_RESETS).any(|_| self.unreset == 0 || matches!(self.reset_some(reset), Ok(true)))
    }

    /// Has KVM take back what was given to it. Returns whether that was all.
    fn reset_some(&mut self, reset: &mut impl FnMut() -> io::Result<u32>) -> io::Result<bool> {
        let count = match reset() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            answer => answer?,
        };
        self.unreset = self.unreset.saturating_sub(count.into());
        if self.unreset == 0 {
            self.rings.iter_mut().for_each(GfnRing::all_reset);
            self.is_partial = false;
            return Ok(true);
        }
        if count > 0 {
            let left = self.rings.iter_mut().map(|ring| u64::from(ring.settle()));
            self.is_partial = left.sum::<u64>() != self.unreset;
        }
        Ok(false)
    }
}

/// A reset with a signal comes back at once, and the next one goes on once the signal was handled.
const MOST_RESETS: u32 = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raw::FakeRing;

    fn rings(fakes: &[&FakeRing]) -> Rings {
        let mut rings = Rings::default();
        for fake in fakes {
            rings.add(fake.map());
        }
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
    fn an_overrun_is_seen_and_recovered_from() {
        let ring = FakeRing::new(8);
        let mut rings = rings(&[&ring]);
        // The first three are lost.
        (0..11).for_each(|page| ring.push(page));
        let got = pages(&mut rings, || panic!("nothing is to be reset any more"));
        assert_eq!(got, (vec![8, 9, 10, 3, 4, 5, 6, 7], true));
        assert!(rings.recover(|| Ok(ring.reset(8))));
        // KVM is three entries ahead, and where that is shows when it goes on.
        assert_eq!(ring.used(), 3);
        assert_eq!(
            pages(&mut rings, || panic!("there is nothing to reset")),
            (vec![], false)
        );
        (11..13).for_each(|page| ring.push(page));
        let got = pages(&mut rings, || Ok(ring.reset(8)));
        assert_eq!((got, ring.used()), ((vec![11, 12], false), 0));
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
        assert!(rings.recover(|| Ok(ring.reset(8))));
        assert_eq!(ring.used(), 2);
        (10..13).for_each(|page| ring.push(page));
        let got = pages(&mut rings, || Ok(ring.reset(8)));
        assert_eq!((got, ring.used()), (((10..13).collect(), false), 0));
    }

    #[test]
    fn an_overrun_between_two_parts_of_a_reset_is_recovered_from() {
        let ring = FakeRing::new(8);
        let mut rings = rings(&[&ring]);
        (0..6).for_each(|page| ring.push(page));
        let mut resets = 0;
        let got = pages(&mut rings, || {
            resets += 1;
            // Then KVM fills more than that leaves room for.
            let count = ring.reset(2);
            (6..14)
                .filter(|_| resets == 1)
                .for_each(|page| ring.push(page));
            Ok(count)
        });
        assert!(got.1, "{got:?}");
        // How far KVM was is not known for sure.
        if rings.recover(|| Ok(ring.reset(8))) {
            let used = ring.used();
            assert!(used < 8, "{used} entries are KVM's");
            (14..16).for_each(|page| ring.push(page));
            let got = pages(&mut rings, || Ok(ring.reset(8)));
            assert_eq!((got, ring.used()), ((vec![14, 15], false), 0));
        }
    }

    /// What a vCPU does: it stops when half of its ring is used, but may write many pages before it looks.
    const RING: u32 = 128;
    const FULL: u32 = RING - 64;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn after_an_overrun_all_is_as_before(
            bursts in prop::collection::vec((0_usize..2, 0_u32..500), 1..12),
            steps in prop::collection::vec((0_usize..2, 0..=FULL), 1..20),
        ) {
            let fakes = [FakeRing::new(RING), FakeRing::new(RING)];
            let mut rings = rings(&[&fakes[0], &fakes[1]]);
            let reset = || Ok(fakes.iter().map(|fake| fake.reset(u32::MAX)).sum());
            let mut next = 0;
            let mut push = |vcpu: usize, pages: u32| {
                let first = next;
                next += u64::from(pages);
                (first..next).for_each(|page| fakes[vcpu].push(page));
                first..next
            };
            for (vcpu, pages) in bursts {
                let mut stops = 0;
                // A vCPU that stopped runs on, sooner or later.
                while fakes[vcpu].used() >= FULL {
                    if rings.empty(|_| (), reset).unwrap().overrun {
                        prop_assert!(rings.recover(reset));
                    }
                    prop_assert!(rings.make_room(vcpu, reset));
                    stops += 1;
                    prop_assert!(stops < 20, "{} entries are used", fakes[vcpu].used());
                }
                prop_assert!(fakes[vcpu].used() <= RING, "more was given back than was KVM's");
                push(vcpu, pages);
            }
            // Then none writes more than there is room for.
            if rings.empty(|_| (), reset).unwrap().overrun {
                prop_assert!(rings.recover(reset));
            }
            for (vcpu, pages) in steps {
                while fakes[vcpu].used() >= FULL {
                    prop_assert!(!rings.empty(|_| (), reset).unwrap().overrun);
                    prop_assert!(rings.make_room(vcpu, reset));
                }
                let want = push(vcpu, pages);
                let mut got = Vec::new();
                let emptied = rings.empty(|entry| got.push(entry.page), reset).unwrap();
                prop_assert!(!emptied.overrun);
                prop_assert!(got.into_iter().eq(want));
                prop_assert!(fakes[vcpu].used() == 0 || pages == 0);
            }
        }
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
