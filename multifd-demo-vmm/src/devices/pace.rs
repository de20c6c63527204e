// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The device that gives the guest its work, and so decides how fast it writes.

use std::num::NonZeroU64;
use std::time::Instant;

use crate::Error;
use crate::state::StateReader;

/// How much each vCPU has to do.
pub(super) struct Pace {
    /// Pages per second and vCPU; `None` is as many as it can.
    rate: Option<f64>,
    turns: Vec<Turn>,
}

/// One vCPU's work.
struct Turn {
    /// Commands so far.
    commands: u64,
    /// Pages to check before it writes again.
    check: u64,
    /// When its allowance was made out last.
    at: Instant,
    /// Pages that it may write to now.
    allowance: f64,
}

/// A command to check pages, not to write to them.
pub(crate) const CHECK: u32 = 1 << 31;

impl Pace {
    pub(super) fn new(vcpus: usize, rate: Option<NonZeroU64>) -> Self {
        let turn = || Turn {
            commands: 0,
            check: 0,
            at: Instant::now(),
            allowance: 0.0,
        };
        Self {
            rate: rate.map(|rate| rate.get() as f64 / vcpus as f64),
            turns: (0..vcpus).map(|_| turn()).collect(),
        }
    }

    /// The number of a vCPU's next command, and the command.
    pub(super) fn next(&mut self, vcpu: usize) -> (u64, u32) {
        let Some(turn) = self.turns.get_mut(vcpu) else {
            return (0, 0);
        };
        turn.commands += 1;
        if turn.check > 0 {
            let pages = turn.check.min(MOST_PAGES.into());
            turn.check -= pages;
            // At most MOST_PAGES.
            return (turn.commands, CHECK | u32::try_from(pages).unwrap_or(0));
        }
        let pages = match self.rate {
            None => MOST_PAGES,
            Some(rate) => turn.allowed(rate),
        };
        (turn.commands, pages)
    }

    pub(super) fn check(&mut self, pages: impl Iterator<Item = u64>) {
        for (turn, pages) in self.turns.iter_mut().zip(pages) {
            turn.check = pages;
        }
    }

    pub(super) fn unchecked(&self) -> u64 {
        self.turns.iter().map(|turn| turn.check).sum()
    }

    pub(super) fn restart_clock(&mut self) {
        for turn in &mut self.turns {
            (turn.at, turn.allowance) = (Instant::now(), 0.0);
        }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let numbers = self.turns.iter().map(|turn| turn.commands.to_le_bytes());
        numbers.flatten().collect()
    }

    pub(super) fn load(&mut self, mut state: StateReader<'_>) -> Result<(), Error> {
        for turn in &mut self.turns {
            turn.commands = state.u64()?;
        }
        state.end()
    }
}

impl Turn {
    /// Takes whole pages of what the vCPU may write to by now.
    fn allowed(&mut self, rate: f64) -> u32 {
        let now = Instant::now();
        let time = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        // Who was kept from his work does not catch up in one go.
        self.allowance = (self.allowance + time * rate).min(f64::from(MOST_PAGES));
        let pages = self.allowance.floor();
        self.allowance -= pages;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and MOST_PAGES"
        )]
        let pages = pages as u32;
        pages
    }
}

/// Pages of one command: few enough for the guest to come back soon.
const MOST_PAGES: u32 = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_kept_over_time() {
        let mut pace = Pace::new(2, NonZeroU64::new(1000));
        let start = Instant::now();
        pace.restart_clock();
        let mut pages = 0;
        for step in 1..=100 {
            // As if 50 ms had passed, of which a vCPU has a share of 25 pages.
            pace.turns[1].at = start;
            let before = Instant::now().duration_since(start).as_secs_f64();
            pace.turns[1].at = Instant::now() - Duration::from_millis(50);
            let (number, command) = pace.next(1);
            assert!(before < 50.0 && number == step);
            pages += command;
        }
        assert!((2500..2700).contains(&pages), "{pages}");
    }

    #[test]
    fn checks_come_first_and_end() {
        let mut pace = Pace::new(1, None);
        pace.check([100].into_iter());
        assert_eq!(pace.next(0), (1, CHECK | 64));
        assert_eq!(pace.unchecked(), 36);
        assert_eq!(pace.next(0), (2, CHECK | 36));
        assert_eq!(pace.next(0), (3, 64));
    }
}
