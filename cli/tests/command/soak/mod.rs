// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Two relays that are left running while guests come and go: some are cancelled, some sources and destinations
//! killed, and others knock all the time.

mod allocated;
mod migration;
mod strays;

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use multifd_tests::command::Running;
use multifd_tests::streams::Random;
use rustix::process::Signal;

use crate::harness::Folder;
use allocated::{Allocated, Counting};
use migration::{Migration, Outcome};

/// So many migrate at once.
const AT_ONCE: u64 = 4;
/// So many make memory what it is from then on: that of libraries, and of the threads that have ended.
const WARM_UP: u64 = 100;

/// A number from the environment.
fn number(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name}={text:?}, wanted a number")),
        Err(_) => Ok(default),
    }
}

/// Both relays, with a method between them.
struct Pair {
    near: (Running, String),
    far: (Running, String),
    /// Of both, where that can be counted.
    allocated: Vec<Allocated>,
}

impl Pair {
    fn start(folder: &Folder) -> Result<Self> {
        let to = format!("unix:{}", folder.text("{uuid}"));
        let (zstd, keep) = ("multifd-compression=zstd", "--keep-listening");
        let counting = Counting::build(folder)?;
        let mut allocated = Vec::new();
        let mut relay = |name: &str, to: &str, args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_multifd"));
            let here = ["relay", "--json", "--quiet", "--listen", "tcp:127.0.0.1:0"];
            command.args(here).args(["--to", to]).args(args);
            let counting = counting.as_ref();
            let file = folder.path(&format!("{name}.allocated"));
            allocated.extend(counting.map(|counting| counting.count(&mut command, file)));
            let mut running = Running::start(&mut command)?;
            let address = running.wait_address()?;
            Ok::<_, anyhow::Error>((running, address))
        };
        let far = relay("far", &to, &[keep, "--in", zstd])?;
        let near = relay("near", &far.1, &[keep, "--out", zstd])?;
        let mut pair = Self {
            near,
            far,
            allocated,
        };
        for (relaying, address) in [&mut pair.near, &mut pair.far] {
            // From then on it listens, and has opened all that it needs for that.
            drop(TcpStream::connect(address.trim_start_matches("tcp:"))?);
            relaying.wait_line("was closed")?;
        }
        Ok(pair)
    }

    fn footprints(&self) -> Result<[Footprint; 2]> {
        Ok([
            Footprint::of(self.near.0.id())?,
            Footprint::of(self.far.0.id())?,
        ])
    }

    /// Waits until both have as many descriptors and threads as they had.
    fn settle(&self, before: &[Footprint; 2]) -> Result<[Footprint; 2]> {
        let start = Instant::now();
        loop {
            let now = self.footprints()?;
            let mut both = now.iter().zip(before);
            if both.all(|(now, before)| now.is_as_small_as(before)) {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "at first {before:?}, in the end {now:?}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What both have allocated, once it is no more than `most` of each, if that is to be waited for.
    fn allocated(&self, most: &[i64]) -> Result<Vec<i64>> {
        let start = Instant::now();
        loop {
            let now = self.allocated.iter().map(Allocated::now);
            let now = now.collect::<Result<Vec<i64>>>()?;
            if now.iter().zip(most).all(|(now, most)| now <= most) {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "{now:?} bytes are allocated, at most {most:?} were to be"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What both have said of those that `error` names, once they have been ended.
    fn ended(mut self, error: &anyhow::Error) -> Result<String> {
        let error = format!("{error:#}");
        let mut text = String::new();
        for relaying in [&mut self.near.0, &mut self.far.0] {
            let said = relaying.kill()?.stderr;
            let guest = |line: &&str| {
                let guest = line.split_once("guest ");
                guest
                    .is_none_or(|(_, uuid)| uuid.get(..36).is_some_and(|uuid| error.contains(uuid)))
            };
            let lines: Vec<&str> = said.lines().filter(guest).collect();
            text.push_str(&format!("{lines:#?}\n"));
        }
        Ok(text)
    }

    fn end(self) -> Result<[String; 2]> {
        let end = |relaying: Running| {
            relaying.signal(Signal::TERM)?;
            let ended = relaying.finish()?;
            ensure!(ended.code == Some(0), "{ended:#?}");
            Ok(ended.stdout)
        };
        Ok([end(self.near.0)?, end(self.far.0)?])
    }
}

/// What a process has.
#[derive(Debug)]
struct Footprint {
    descriptors: usize,
    threads: u64,
    /// In KiB.
    resident: u64,
    /// The most that it has been.
    peak: u64,
}

impl Footprint {
    fn of(process: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok::<_, anyhow::Error>(word.with_context(|| name.to_owned())?.parse()?)
        };
        Ok(Self {
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))?.count(),
            threads: field("Threads:")?,
            resident: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }

    fn is_as_small_as(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors && self.threads <= before.threads
    }
}

/// Lets `numbers` of migrations go through the relay at `address`, several at a time; answers how each ended.
fn migrate(
    address: &str,
    folder: &Folder,
    seed: u64,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<Outcome>> {
    let next = AtomicU64::new(numbers.start);
    let (send, ended) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (send, next, numbers) = (send.clone(), &next, &numbers);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !numbers.contains(&number) {
                        return;
                    }
                    let run = || Migration::new(seed, number).run(folder, address);
                    let what = || format!("seed {seed}, migration {number}");
                    let result = run().with_context(what);
                    let failed = result.is_err();
                    // Nobody waits for more once one has gone wrong.
                    if send.send(result).is_err() || failed {
                        return;
                    }
                }
            });
        }
    });
    drop(send);
    ended.into_iter().collect()
}

#[test]
fn nothing_is_lost_doubled_mixed_or_left_over() -> Result<()> {
    let count = number("MULTIFD_SOAK", 32)?;
    let seed = number("MULTIFD_SOAK_SEED", 1)?;
    let say = |text: &str| writeln!(std::io::stderr(), "soak, seed {seed}: {text}");
    let folder = Folder::new()?;
    let pair = Pair::start(&folder)?;
    let before = pair.footprints()?;
    let run = |numbers| {
        let is_over = &AtomicBool::new(false);
        let addresses = [&*pair.near.1, &*pair.far.1];
        thread::scope(|scope| {
            let strays = move || strays::knock(addresses, Random::new(seed), is_over);
            let knocking = scope.spawn(strays);
            let result = migrate(&pair.near.1, &folder, seed, numbers);
            is_over.store(true, Ordering::Relaxed);
            let knocks = knocking.join().map_err(|_| anyhow!("a stray panicked"))??;
            say(&format!("{knocks} others knocked"))?;
            result
        })
    };
    let cold = WARM_UP.min(count / 2);
    let all = || {
        let mut outcomes = run(0..cold)?;
        let warm = (pair.settle(&before)?, pair.allocated(&[])?);
        outcomes.extend(run(cold..count)?);
        Ok::<_, anyhow::Error>((outcomes, warm))
    };
    let (outcomes, (warm, allocated)) = match all() {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let said = pair.ended(&error)?;
            return Err(error.context(said));
        }
    };
    let after = pair.settle(&before)?;
    // What is kept for each guest, or for each who knocks, grows without end.
    let once = if count > 2 * WARM_UP { ONCE } else { COLD };
    let kept = i64::try_from(count - cold)? * PER_GUEST + once;
    let most: Vec<i64> = allocated.iter().map(|warm| warm + kept).collect();
    let in_the_end = pair.allocated(&most)?;
    let of = |wanted: Outcome| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    let (arrived, stayed) = (of(Outcome::Arrived), of(Outcome::Stayed));
    say(&format!(
        "of {} guests {arrived} have arrived, {stayed} have stayed, {} were lost with their host; \
         at first {before:?}, warm {warm:?}, in the end {after:?}; \
         allocated when warm {allocated:?}, in the end {in_the_end:?} bytes",
        outcomes.len(),
        of(Outcome::Killed),
    ))?;
    ensure!(arrived > 0 && stayed > 0, "{outcomes:?}");
    for (warm, after) in warm.iter().zip(&after).filter(|_| count > 2 * WARM_UP) {
        // From one moment to the next it is more or less by a third: what ends gives back some of it.
        let most = warm.peak + warm.peak / 10;
        ensure!(after.resident <= most, "{warm:?}, in the end {after:?}");
    }
    let reports = pair.end()?;
    for report in reports {
        let completed = report.lines().filter(|line| line.contains("\"completed\""));
        ensure!(
            completed.count() >= arrived,
            "{arrived} have arrived: {report}"
        );
    }
    Ok(())
}

/// A relay that keeps 1 KiB for each guest that it passes on, which half of them are, keeps more than so many bytes for
/// each.
const PER_GUEST: i64 = 128;
/// What has more room than before, and keeps it.
const ONCE: i64 = 16 << 10;
/// The same where not even the list of those that ended last is full.
const COLD: i64 = 128 << 10;
/// More than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
