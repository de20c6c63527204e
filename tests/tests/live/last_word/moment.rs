// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One moment of the last messages, and what is to come of it.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use multifd_migration::DestinationConfig;
use multifd_tests::live::Controls;
use multifd_tests::network::{self, Ending, Link, Tap, Taps, Watchdog};

use super::end::{End, describe};
use super::{Course, SHUT_LEN, at_save, guest};
use crate::failure::{pair, second_attempt};

/// What is done to the main connection, or to a side, when it has come to a byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    /// This direction ends there, and whoever sends more finds it so.
    Cut(Ending),
    /// What was sent behind it is lost on its way, and both directions end.
    Lost(Ending),
    /// Nothing comes any more, until the source has given up.
    Silence,
    /// The source is cancelled.
    Cancel,
    /// The destination is aborted.
    Abort,
}

pub(super) const HARMS: [Harm; 7] = [
    Harm::Cut(Ending::Eof),
    Harm::Cut(Ending::Reset),
    Harm::Lost(Ending::Eof),
    Harm::Lost(Ending::Reset),
    Harm::Silence,
    Harm::Cancel,
    Harm::Abort,
];

/// A direction of the main connection, and so many bytes of it after the devices were saved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Byte {
    Forth(u64),
    Back(u64),
}

/// One moment, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) byte: Byte,
    pub(super) harm: Harm,
}

impl Moment {
    /// Migrates a guest, with the harm, and checks what comes of it.
    pub(super) fn try_it(self, course: &Course) -> Result<End> {
        let _watchdog = Watchdog::start();
        let mut guest = guest()?;
        let (ours, theirs, taps) = network::pair(Link::default(), Link::default());
        let starts = at_save(&mut guest, &taps, move |forth, back| {
            let tap = self.tap(&forth.0, &back.0);
            match self.harm {
                Harm::Cut(ending) => tap.cut_after(self.place(forth.1, back.1), ending),
                _ => tap.hold_after(self.place(forth.1, back.1)),
            }
        });
        let mut pair = pair()?;
        pair.config.hand_over = course.hands_over;
        let mut config = DestinationConfig::default();
        if matches!(self.harm, Harm::Silence) {
            pair.config.limits.confirm = SHORT;
            config.receiver.limits.devices = SHORT;
            config.receiver.limits.confirm = SHORT;
        }
        let mut cancelled = false;
        let has_cancelled = &mut cancelled;
        let harm = move |controls: Controls| {
            if let Ok((forth, back)) = starts.recv() {
                let at = self.place(forth, back);
                *has_cancelled = self.harm(course, &controls, &taps, at);
            }
        };
        let outcome = pair.migrate_over((ours, theirs), config, &mut guest, harm)?;
        guest.on_step = None;
        let end = End::of(&guest, &outcome)?;
        ensure!(
            self.expected(course, cancelled).contains(&end),
            "{end:?}, cancelled: {cancelled}, {outcome}",
            outcome = describe(&outcome)
        );
        if matches!(end, End::Stayed | End::StayedWhole) {
            second_attempt(&mut guest)?;
        }
        Ok(end)
    }

    fn tap<'a>(self, forth: &'a Tap, back: &'a Tap) -> &'a Tap {
        match self.byte {
            Byte::Forth(_) => forth,
            Byte::Back(_) => back,
        }
    }

    /// The byte's place in its direction, whose starts are these.
    fn place(self, forth: u64, back: u64) -> u64 {
        match self.byte {
            Byte::Forth(byte) => forth + byte,
            Byte::Back(byte) => back + byte,
        }
    }

    /// Does the harm when the connection has come to its byte, `at`, and more was sent. Answers whether the source
    /// was cancelled.
    fn harm(self, course: &Course, controls: &Controls, taps: &Taps, at: u64) -> bool {
        let tap = self.tap(&taps.forth, &taps.back);
        let is_last = match self.byte {
            Byte::Forth(byte) => byte == course.end,
            Byte::Back(byte) => byte == course.back,
        };
        let more = at + u64::from(!is_last);
        match self.harm {
            Harm::Cut(_) => return false,
            Harm::Silence => {
                while !controls.source.status().is_final() {
                    thread::sleep(Duration::from_millis(1));
                }
                tap.cut_after(at, Ending::Eof);
                return false;
            }
            Harm::Lost(ending) => {
                tap.wait_sent(more);
                tap.wait_received(at);
                // The other direction first: nobody is to answer.
                match self.byte {
                    Byte::Forth(_) => taps.back.cut(ending),
                    Byte::Back(_) => taps.forth.cut(ending),
                }
                tap.cut_after(at, ending);
                return false;
            }
            Harm::Cancel | Harm::Abort => {
                tap.wait_sent(more);
                tap.wait_received(at);
            }
        }
        let cancelled = match self.harm {
            Harm::Cancel => controls.source.cancel(),
            _ => {
                controls.destination.abort();
                false
            }
        };
        tap.release();
        cancelled
    }

    /// How it may end.
    fn expected(self, course: &Course, cancelled: bool) -> BTreeSet<End> {
        use End::{DoubtNowhere, DoubtThere, DoubtWhole, Moved, Stayed, StayedWhole};
        let ends: &[End] = match (self.harm, self.byte, course.hands_over) {
            // It depends on who gives up first.
            (Harm::Silence, _, true) => &[Moved, Stayed, StayedWhole, DoubtWhole, DoubtThere],
            (Harm::Silence, _, false) => &[Moved, Stayed, DoubtWhole, DoubtThere, DoubtNowhere],
            (Harm::Cancel, _, _) if cancelled => &[Stayed, StayedWhole],
            (Harm::Cancel, _, _) => &[Moved],
            (Harm::Abort, Byte::Forth(byte), _) if byte < course.go => &[Stayed],
            (Harm::Abort, Byte::Forth(byte), false) if byte == course.end => &[Moved, Stayed],
            (Harm::Abort, _, _) => &[Moved],

            // The source may see before it sends the tail that nobody answers any more.
            (Harm::Cut(_), Byte::Back(0), true) => &[Stayed, StayedWhole],
            (Harm::Cut(_), Byte::Back(0), false) => &[Stayed, DoubtWhole],

            (_, Byte::Forth(byte), true) if byte < course.go => &[Stayed],
            (_, Byte::Forth(byte), true) if byte < course.end => &[DoubtWhole],
            (Harm::Cut(_), Byte::Forth(_), true) => &[Moved],
            (Harm::Lost(_), Byte::Forth(_), true) => &[Moved, DoubtThere],
            (_, Byte::Back(byte), true) if byte < SHUT_LEN => &[StayedWhole],
            (_, Byte::Back(byte), true) if byte < course.back => &[DoubtThere],
            (_, Byte::Back(_), true) => &[Moved],

            // The other direction brings the destination's word.
            (Harm::Cut(_), Byte::Forth(byte), false) if byte < course.go => &[Stayed],
            (Harm::Cut(_), Byte::Forth(_), false) => &[Moved],
            (Harm::Lost(_), Byte::Forth(byte), false) if byte < course.tail => {
                &[Stayed, DoubtNowhere]
            }
            (Harm::Lost(_), Byte::Forth(byte), false) if byte < course.go => &[DoubtNowhere],
            (Harm::Lost(_), Byte::Forth(_), false) => &[Moved, DoubtThere, DoubtWhole],
            (_, Byte::Back(byte), false) if byte == course.back => &[Moved],
            (Harm::Cut(_), Byte::Back(_), false) => &[DoubtWhole],
            (Harm::Lost(_), Byte::Back(_), false) => &[DoubtThere],
        };
        ends.iter().copied().collect()
    }
}

/// How long a side waits for one that says nothing.
const SHORT: Duration = Duration::from_millis(100);
