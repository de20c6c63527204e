// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whoever is killed, and whenever: the folder has all of the guest or is not there.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::steps::{self, LIMIT};
use super::super::{Age, Case, Lab};
use super::bench::{Bench, FROM, TO, row, runs_on};
use super::sending::{Kept, listen};
use crate::peer::Qemu;

pub(super) fn cases() -> Vec<Case> {
    let case = |peers, role, mode: &str, run: fn(&Lab) -> _| {
        let (group, mode) = match peers {
            FROM => ("failures_from", format!("live, {mode}")),
            _ => ("failures_to", mode.to_owned()),
        };
        Case::new(group, row(&mode, peers, role), run)
    };
    vec![
        case(
            FROM,
            "recv --save",
            "SIGKILL at twelve moments from the first round on",
            killed,
        ),
        case(
            FROM,
            "recv --save",
            "the QEMU is killed at six moments",
            source_killed,
        ),
        case(
            TO,
            "send --load",
            "the QEMU is killed at six moments",
            destination_killed,
        ),
    ]
}

fn killed(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new(Age::Current)?;
    let mut source = bench.source(lab)?;
    source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 64 << 20}))?;
    // How long it takes if nothing happens.
    let start = Instant::now();
    let whole = migrate(lab, &bench, &mut source, None)?;
    ensure!(whole, "it has failed by itself");
    let time = start.elapsed();
    for moment in 0..MOMENTS {
        remove(&bench)?;
        let after = time * moment / (MOMENTS - 1);
        let outcome = migrate(lab, &bench, &mut source, Some(after));
        if outcome.as_ref().is_err_and(answers_nobody) {
            // A QEMU that loses its channels at some moments waits for them for ever. Its guest is not this side's.
            let line = format!(
                "killed after {after:?} of {time:?}: the QEMU answers nobody, and is started again\n"
            );
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes())?;
            ensure!(
                !bench.saved().exists(),
                "what the source does not know is kept"
            );
            source = bench.source(lab)?;
            source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 64 << 20}))?;
            continue;
        }
        outcome.with_context(|| format!("killed after {after:?} of {time:?}"))?;
    }
    remove(&bench)?;
    bench.save(lab, &mut source).context("the last attempt")?;
    Ok(vec![
        "all of the guest is kept, or nothing",
        "what the source takes for kept is",
        "the guest runs on",
        "another attempt succeeds",
    ])
}

fn answers_nobody(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("no answer in time")
}

/// Each of these sources is the last of its guest.
fn source_killed(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new(Age::Current)?;
    let mut time = Duration::ZERO;
    for moment in 0..=FEWER_MOMENTS {
        remove(&bench)?;
        let mut source = bench.source(lab)?;
        source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 64 << 20}))?;
        let mut receiving = bench.receive(lab, &[])?;
        let uri = receiving.wait_address()?;
        let start = Instant::now();
        source.migrate(&uri)?;
        if moment == 0 {
            source.wait_status(&["completed"], LIMIT)?;
            time = start.elapsed();
        } else {
            // One that is killed before it has shown itself is a stranger, and the command waits for the next one.
            wait_until_under_way(&mut source)?;
            thread::sleep(time * (moment - 1) / FEWER_MOMENTS);
            source.kill()?;
        }
        let finished = receiving.finish()?;
        let codes: &[i32] = if bench.saved().exists() {
            bench.inspect(lab)?;
            &[0, KEPT]
        } else {
            &[3, 4]
        };
        finished.ended(codes, &[])?;
        // The source's word is missing exactly where that is said.
        let marked = bench.saved().join("unreleased").exists();
        ensure!(marked == (finished.code == Some(KEPT)), "{finished:#?}");
        ensure!(!bench.partial().exists(), "something is left");
    }
    Ok(vec!["all of the guest is kept, or nothing"])
}

fn destination_killed(lab: &Lab) -> Result<Vec<&'static str>> {
    let kept = Kept::new(lab)?;
    let start = Instant::now();
    kept.send(lab)?;
    let time = start.elapsed();
    for moment in 0..FEWER_MOMENTS {
        let mut qemu = kept.destination(lab)?;
        let args = kept.bench.send_arguments(&listen(&mut qemu)?, &[]);
        let sending = lab.multifd().start(args)?;
        // The time is that of a whole machine's start, too: most of the moments are early.
        thread::sleep(time * moment / (4 * FEWER_MOMENTS));
        qemu.kill()?;
        sending.finish()?.ended(&[0, 3, 4, IN_DOUBT], &[])?;
    }
    kept.bench.inspect(lab)?;
    kept.send(lab).context("the last attempt")?;
    Ok(vec![
        "the folder is as it was",
        "another attempt succeeds",
        "every word of the guest that went on",
    ])
}

fn remove(bench: &Bench) -> Result<()> {
    // One that lacks nothing but its name is the user's to remove; any other one the command replaces.
    let partial = bench.partial();
    let whole = partial.join("manifest.json").exists().then_some(partial);
    for folder in whole.into_iter().chain([bench.saved()]) {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Migrates, and kills the command after a while; the guest runs afterwards. Answers whether the QEMU takes the guest
/// for migrated.
fn migrate(lab: &Lab, bench: &Bench, source: &mut Qemu, after: Option<Duration>) -> Result<bool> {
    let mut receiving = bench.receive(lab, &[])?;
    let uri = receiving.wait_address()?;
    steps::migrate_again(source, &uri)?;
    if let Some(after) = after {
        wait_until_under_way(source)?;
        thread::sleep(after);
        receiving.signal(Signal::KILL)?;
    }
    receiving.finish()?;
    let info = source.wait_status(&["completed", "failed"], LIMIT)?;
    let completed = info.get("status").and_then(Value::as_str) == Some("completed");
    let kept = bench.saved().exists();
    ensure!(kept || !completed, "the guest is lost");
    if kept {
        bench.inspect(lab)?;
    }
    if completed {
        // For the next time. Who does this in earnest has the guest twice.
        source.cont()?;
    }
    runs_on(source)?;
    Ok(completed)
}

/// Waits until memory is on the way. A QEMU that loses its channels before its first barrier may wait for them for ever,
/// and answers nobody meanwhile.
fn wait_until_under_way(source: &mut Qemu) -> Result<()> {
    source.wait_status(&["active", "device", "completed"], LIMIT)?;
    let start = Instant::now();
    loop {
        let info = source.query_migrate()?;
        let bytes = info.pointer("/ram/multifd-bytes").and_then(Value::as_u64);
        let is_over = info.get("status").and_then(Value::as_str) == Some("completed");
        if is_over || bytes > Some(64 << 10) {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "no pages: {info}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The exit status of a source that does not know whether the destination has the guest.
const IN_DOUBT: i32 = 7;
/// The exit status of a destination that has all of the guest, but not the source's word.
const KEPT: i32 = 8;
const MOMENTS: u32 = 12;
const FEWER_MOMENTS: u32 = 6;
