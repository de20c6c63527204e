// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that have not said yet what they are.
//!
//! A source says it within milliseconds, a handshake of TLS included, and may have to do so in a crowd that says
//! nothing at all. So a new connection always has a place, and it is the oldest one that gives way. Only the main
//! connection of a QEMU is silent for longer, until the channels are there: behind a handshake it stays before all who
//! have made none. In clear nothing tells it from a stranger, but as many others as there are places have to come first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::transport::Interrupt;

/// All of them, in the order in which they came.
#[derive(Default)]
pub(super) struct Candidates {
    next: u64,
    all: BTreeMap<u64, Candidate>,
    /// How many have given way, and are not gone yet.
    leaving: usize,
}

struct Candidate {
    interrupter: Arc<dyn Interrupt>,
    is_open: bool,
}

impl Candidates {
    /// Takes one more, and returns its number. If there are too many, another one gives way: it is interrupted. `None`
    /// if too many of those have not gone yet.
    pub(super) fn add(&mut self, interrupter: Arc<dyn Interrupt>, is_open: bool) -> Option<u64> {
        if self.all.len() >= MOST_CANDIDATES {
            if self.leaving >= MOST_CANDIDATES {
                return None;
            }
            let (_, least) = self.all.remove_entry(&self.least()?)?;
            self.leaving += 1;
            least.interrupter.interrupt();
        }
        let number = self.next;
        self.next += 1;
        let candidate = Candidate {
            interrupter,
            is_open,
        };
        self.all.insert(number, candidate);
        Some(number)
    }

    /// The oldest one that is not open yet, or else the oldest one.
    fn least(&self) -> Option<u64> {
        let closed = self.all.iter().find(|(_, candidate)| !candidate.is_open);
        let least = closed.or_else(|| self.all.first_key_value());
        least.map(|(number, _)| *number)
    }

    /// [`crate::transport::Transport::open`] is done.
    pub(super) fn set_open(&mut self, number: u64) {
        if let Some(candidate) = self.all.get_mut(&number) {
            candidate.is_open = true;
        }
    }

    /// It has said what it is, or will not. Returns false if it has had to give way.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        self.all.remove(&number).is_some()
    }

    /// One that has given way is gone.
    pub(super) fn left(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} candidates, {} leaving", self.all.len(), self.leaving)
    }
}

/// Most connections at once of which nothing is known: all that a source can make at once, the main one and 255
/// channels, and some strangers beside them.
pub(super) const MOST_CANDIDATES: usize = 256 + 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Interrupt for Flag {
        fn interrupt(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_oldest_gives_way_of_those_that_are_not_open() {
        let mut candidates = Candidates::default();
        let flags: Vec<Arc<Flag>> = (0..MOST_CANDIDATES + 2).map(|_| Arc::default()).collect();
        let gone = || {
            let gone = flags.iter().enumerate();
            let gone = gone.filter(|(_, flag)| flag.0.load(Ordering::Relaxed));
            gone.map(|(at, _)| at).collect::<Vec<_>>()
        };
        for (number, flag) in (0..).zip(&flags[..MOST_CANDIDATES]) {
            assert_eq!(
                candidates.add(Arc::clone(flag) as _, number % 7 == 6),
                Some(number)
            );
            if number != 5 {
                candidates.set_open(number);
            }
        }
        assert_eq!(gone(), []);
        candidates.add(Arc::clone(&flags[MOST_CANDIDATES]) as _, false);
        assert_eq!(gone(), [5]);
        candidates.set_open(MOST_CANDIDATES as u64);
        candidates.add(Arc::clone(&flags[MOST_CANDIDATES + 1]) as _, true);
        assert_eq!(gone(), [0, 5]);
        assert!(!candidates.remove(5) && !candidates.remove(0) && candidates.remove(1));
    }

    #[test]
    fn only_so_many_leave_at_once() {
        let mut candidates = Candidates::default();
        let mut come = |count: usize| {
            let come = (0..count).filter_map(|_| candidates.add(Arc::new(Flag::default()), false));
            come.count()
        };
        assert_eq!(come(3 * MOST_CANDIDATES), 2 * MOST_CANDIDATES);
        candidates.left();
        assert_eq!(
            (0..2)
                .filter_map(|_| candidates.add(Arc::new(Flag::default()), false))
                .count(),
            1
        );
    }
}
