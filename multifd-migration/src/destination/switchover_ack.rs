// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The word that a live source may wait for before its switchover.

use std::time::{Duration, Instant};

use multifd_core::{Error, Fault};

/// Whether a source of this machine type wants the word of each destination: QEMU up to 11.0, and later ones for
/// machine types up to 11.0. With newer types it waits for what devices have asked for, and here none has. A type without a
/// version may be of any QEMU.
pub(super) fn is_wanted(machine: &str) -> bool {
    match version(machine) {
        Some(version) => version <= LAST_UNCONDITIONAL,
        None => true,
    }
}

fn version(machine: &str) -> Option<(u32, u32)> {
    let (_, version) = machine.rsplit_once('-')?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

const LAST_UNCONDITIONAL: (u32, u32) = (11, 0);

/// Recognises a source that waits for the word: its rounds bring next to nothing, so it could switch over, and
/// they go on and on.
#[derive(Debug, Default)]
pub(super) struct EndlessRounds {
    /// How many bytes had come at the last barrier.
    seen: u64,
    /// When the first of the small rounds ended, and how many there were since.
    small: Option<(Instant, u32)>,
}

impl EndlessRounds {
    /// A round ends at which so many bytes have come in all, SYNC packets left out.
    ///
    /// # Errors
    /// There is no reason that the source goes on.
    pub(super) fn round(&mut self, received: u64) -> Result<(), Error> {
        self.round_at(received, Instant::now())
    }

    fn round_at(&mut self, received: u64, now: Instant) -> Result<(), Error> {
        let bytes = received.saturating_sub(self.seen);
        self.seen = received;
        if bytes > SMALL {
            self.small = None;
            return Ok(());
        }
        let (since, rounds) = self.small.get_or_insert((now, 0));
        *rounds = rounds.saturating_add(1);
        let time = now.saturating_duration_since(*since);
        if *rounds < ROUNDS || time < PATIENCE {
            return Ok(());
        }
        let (rounds, seconds) = (*rounds, time.as_secs());
        let what = format!(
            "the source has next to nothing left to send for {rounds} rounds in {seconds} s, and does not switch over: it \
             waits for SWITCHOVER_ACK, so turn switchover-ack off there or on here; or its downtime-limit is shorter than \
             any switchover"
        );
        Err(Error::new(Fault::Peer, what))
    }
}

/// Most bytes of a round that would fit into any downtime: 10 ms at 1 Gbit/s.
const SMALL: u64 = 1 << 20;
/// So many such rounds in succession are no chance: a source switches over after the first.
const ROUNDS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_the_word() {
        for (machine, wanted) in [
            ("pc-q35-10.0", true),
            ("pc-i440fx-8.1", true),
            ("virt-11.0", true),
            ("s390-ccw-virtio-11.1", false),
            ("pseries-12.0", false),
            ("none", true),
            ("pc-q35-rhel9.6.0", true),
            ("", true),
        ] {
            assert_eq!(is_wanted(machine), wanted, "{machine}");
        }
    }

    #[test]
    fn rounds_without_a_reason_are_noticed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rounds = EndlessRounds::default();
        let mut received = 1 << 30;
        rounds.round_at(received, start).unwrap();
        // A round every millisecond, each with a few pages.
        for millis in 0..10_000 {
            received += 60 * 4096;
            rounds.round_at(received, at(millis)).unwrap();
        }
        let error = rounds.round_at(received, at(10_000)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("for 10001 rounds in 10 s"), "{text}");
        assert_eq!(error.fault(), Fault::Peer);
    }

    #[test]
    fn a_source_with_something_to_send_is_waited_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // More than a downtime may bring, for ever.
        let mut rounds = EndlessRounds::default();
        let mut received = 0;
        for second in 0..1000 {
            received += SMALL + 1;
            rounds.round_at(received, at(second)).unwrap();
        }
        // A large round between small ones.
        for second in 0..1000 {
            received += if second % 90 == 0 { SMALL + 1 } else { 0 };
            rounds.round_at(received, at(second)).unwrap();
        }
        // Few rounds, slowly.
        let mut rounds = EndlessRounds::default();
        for minute in 0..99 {
            rounds.round_at(0, at(60 * minute)).unwrap();
        }
        rounds.round_at(0, at(60 * 99)).unwrap_err();
    }
}
