// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The switchover's last messages, byte by byte: whatever breaks there, and however, the guest is in one place.

mod end;
mod moment;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use multifd_migration::DestinationConfig;
use multifd_tests::conformance::PageSource;
use multifd_tests::live::{Guest, Rate, Step};
use multifd_tests::network::{self, Link, Tap, Taps};
use parking_lot::Mutex;

use crate::failure::{moments, pair};
use end::End;
use moment::{Byte, HARMS, Moment};

const PAGES: u64 = 64;

/// Both sides are of this crate: the destination waits for the word to run the guest.
#[test]
fn a_destination_that_hands_over() -> Result<()> {
    let ends = campaign(true)?;
    let all = [
        End::Moved,
        End::Stayed,
        End::StayedWhole,
        End::DoubtWhole,
        End::DoubtThere,
    ];
    ensure!(ends.keys().copied().eq(all), "{ends:?}");
    Ok(())
}

/// As with a QEMU there: the destination runs the guest before it says so.
#[test]
fn a_destination_that_does_not_hand_over() -> Result<()> {
    let ends = campaign(false)?;
    let all = [
        End::Moved,
        End::Stayed,
        End::DoubtWhole,
        End::DoubtThere,
        End::DoubtNowhere,
    ];
    ensure!(ends.keys().copied().eq(all), "{ends:?}");
    Ok(())
}

/// What goes over the main connection after the devices were saved, in bytes from there.
#[derive(Clone, Copy, Debug)]
struct Course {
    hands_over: bool,
    /// Behind RAM's last section.
    tail: u64,
    /// Behind the device state: the word to run the guest, if there is one.
    go: u64,
    /// Of this direction.
    end: u64,
    /// Of the other one: SHUT 0, and behind it the answer to the word.
    back: u64,
}

/// Tries the moments, several at a time, as most of them are spent waiting. Answers how often which end came.
fn campaign(hands_over: bool) -> Result<BTreeMap<End, usize>> {
    let course = Course::find(hands_over)?;
    // Seven kinds of harm at each byte.
    let moments = course.moments(moments().div_ceil(2));
    let (next, ends) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(moment) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
                let end = moment.try_it(&course);
                let end = end.with_context(|| format!("{moment:?} of {course:?}"))?;
                *ends.lock().entry(end).or_insert(0) += 1;
            }
            Ok(())
        };
        let threads = [(); WORKERS].map(|()| scope.spawn(work));
        let results = threads.map(|thread| thread.join());
        for result in results {
            result.map_err(|_| anyhow!("a worker panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let ends = ends.into_inner();
    say(&format!("{} moments, {course:?}: {ends:?}", moments.len()));
    Ok(ends)
}

#[expect(clippy::print_stderr, reason = "for whoever tries many moments")]
fn say(text: &str) {
    eprintln!("{text}");
}

impl Course {
    /// Migrates a guest, and looks at what was sent.
    fn find(hands_over: bool) -> Result<Self> {
        let mut guest = guest()?;
        let (ours, theirs, taps) = network::pair(Link::default().recorded(), Link::default());
        let starts = at_save(&mut guest, &taps, |_, _| ());
        let mut pair = pair()?;
        pair.config.hand_over = hands_over;
        let outcome = pair.migrate_over(
            (ours, theirs),
            DestinationConfig::default(),
            &mut guest,
            |_| (),
        )?;
        outcome.source?;
        let (forth, back) = starts.recv()?;
        let bytes = taps.forth.bytes();
        let bytes = bytes.get(usize::try_from(forth)?..);
        let bytes = bytes.context("nothing was sent")?;
        // RAM's footer, and the first section of a device.
        let mut places = bytes.windows(6);
        let footer = places.position(|at| matches!(at, [0x7e, .., 4]));
        let tail = footer.context("no devices were sent")? as u64 + 5;
        let end = bytes.len() as u64;
        let course = Self {
            hands_over,
            tail,
            go: end - if hands_over { GO_LEN } else { 0 },
            end,
            back: taps.back.sent() - back,
        };
        ensure!(tail < course.go && course.back == SHUT_LEN * (1 + u64::from(hands_over)));
        Ok(course)
    }

    /// Every harm at `count` bytes, or at all that there are; the most interesting ones come first.
    fn moments(&self, count: u64) -> Vec<Moment> {
        let mut bytes = vec![Byte::Forth(self.go - 1), Byte::Forth(self.go)];
        bytes.extend([0, SHUT_LEN - 1, SHUT_LEN].map(Byte::Back));
        bytes.extend((SHUT_LEN + 1..=self.back).step_by(7).map(Byte::Back));
        bytes.extend((self.go + 1..=self.end).step_by(4).map(Byte::Forth));
        let first = bytes.len();
        let forth = (0..=self.end).map(Byte::Forth);
        bytes.extend(forth.chain((0..=self.back).map(Byte::Back)));
        let mut random = PageSource::new(self.go);
        for here in first..bytes.len() {
            let there = here + random.below(bytes.len() - here);
            bytes.swap(here, there);
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let bytes = bytes.into_iter().take(count);
        let moments = bytes.flat_map(|byte| HARMS.map(|harm| Moment { byte, harm }));
        moments.collect()
    }
}

/// Calls `then` with the taps and how much each has carried, once the devices are saved; the answer gets the
/// numbers, too.
fn at_save(
    guest: &mut Guest,
    taps: &Taps,
    then: impl Fn((Tap, u64), (Tap, u64)) + Send + 'static,
) -> mpsc::Receiver<(u64, u64)> {
    let (say, said) = mpsc::channel();
    let taps = taps.clone();
    guest.on_step = Some(Box::new(move |step| {
        if step != Step::Save {
            return;
        }
        let starts = (taps.forth.sent(), taps.back.sent());
        then(
            (taps.forth.clone(), starts.0),
            (taps.back.clone(), starts.1),
        );
        let _ = say.send(starts);
    }));
    said
}

fn guest() -> Result<Guest> {
    Guest::start(PAGES, Rate::Pages(1000))
}

/// Bytes of the word to run the guest: a section's type, a command, its length, a number.
const GO_LEN: u64 = 1 + 2 + 2 + 4;
/// Bytes of SHUT 0, and of the answer to that word: a type, a length, a number.
const SHUT_LEN: u64 = 2 + 2 + 4;
/// Moments at a time.
const WORKERS: usize = 16;
