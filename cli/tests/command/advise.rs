// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `advise`.

use anyhow::{Context as _, Result};
use multifd_tests::stand_in::StandIn;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, METHODS, guest, run, start};

/// Little memory and one level: it is not the clock that is tested.
const SMALL: [&str; 6] = ["--sample", "2M", "--levels", "1", "--channels", "4"];

fn advise(args: &[&str]) -> Result<Value> {
    run(&[&["advise", "--json"], &SMALL[..], args].concat())?.json(0)
}

/// Memory that every method can do something with.
fn ram(folder: &Folder) -> Result<String> {
    folder.write("ram", &guest(2048))
}

#[test]
fn a_slow_link_wants_compression_and_a_fast_one_what_is_fastest() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    let advice = advise(&["--ram", &ram, "--bandwidth", "1Mbit,0"])?;
    assert_eq!(advice["memory"], 8 << 20);
    let zero = advice["zero-share"].as_f64().context("no share")?;
    assert!((zero - 2.0 / 7.0).abs() < 0.03, "{zero}");
    let links = advice["links"].as_array().context("no links")?;
    let (slow, fast) = (&links[0], &links[1]);
    assert_eq!(slow["bandwidth"], 125_000.0);
    assert!(slow["choice"]["method"] != "none", "{slow:#}");
    assert!(fast["bandwidth"].is_null());
    let time = |one: &Value| one["total-time"].as_f64().unwrap_or(f64::INFINITY);
    let all = fast["candidates"].as_array().context("no candidates")?;
    let best = all.iter().map(time).fold(f64::INFINITY, f64::min);
    let chosen = all
        .iter()
        .find(|one| one["method"] == fast["choice"]["method"]);
    let chosen = chosen.with_context(|| format!("{fast:#}"))?;
    assert!(time(chosen) <= 1.1 * best, "{fast:#}");
    // Each method is there, and the times are those of the link.
    let candidates = slow["candidates"].as_array().context("no candidates")?;
    for method in METHODS {
        let one = candidates.iter().find(|one| one["method"] == method);
        let one = one.with_context(|| format!("no {method}"))?;
        assert_eq!(one["bound"], "link", "{one:#}");
        let (time, bytes) = (one["total-time"].as_f64(), one["transferred"].as_f64());
        let (time, bytes) = (time.context("no time")?, bytes.context("no bytes")?);
        assert!((time - bytes / 125_000.0).abs() < 1.0, "{one:#}");
    }
    Ok(())
}

#[test]
fn what_it_says_to_set_can_be_set() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    let text = run(&[
        &["advise", "--ram", &ram, "--bandwidth", "1Mbit"],
        &SMALL[..],
    ]
    .concat())?;
    text.ended(&[0], &["measuring"])?;
    let line = text
        .stdout
        .lines()
        .find_map(|line| line.split_once("on both sides: "));
    let (_, settings) = line.with_context(|| text.stdout.clone())?;
    let settings: Vec<_> = settings.split(' ').collect();
    assert_eq!(settings[0], "--set");
    let to = format!("unix:{}", folder.text("nobody"));
    let send = ["send", "--to", &to, "--ram", &ram];
    // It gets as far as to a destination that is not there.
    run(&[&send[..], &settings].concat())?.failed(&[4], &[])?;
    for line in [
        "  (qemu) migrate_set_parameter multifd-compression ",
        "  {\"execute\": ",
    ] {
        assert!(text.stdout.contains(line), "{line}: {}", text.stdout);
    }
    Ok(())
}

#[test]
fn accelerators_are_chosen_by_qemus_rules() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    let slow = [
        "--ram",
        &ram,
        "--bandwidth",
        "1Mbit",
        "--methods",
        "none,zstd,qatzip,qpl",
    ];
    for (devices, method) in [
        (
            ["--qat", "4", "--iaa", "1", "--shared-memory", "yes"],
            "qatzip",
        ),
        (
            ["--qat", "1", "--iaa", "4", "--shared-memory", "yes"],
            "qpl",
        ),
        (
            ["--qat", "1", "--iaa", "4", "--shared-memory", "no"],
            "qatzip",
        ),
        (
            ["--qat", "0", "--iaa", "4", "--shared-memory", "yes"],
            "qpl",
        ),
    ] {
        let advice = advise(&[&slow[..], &devices].concat())?;
        let choice = &advice["links"][0]["choice"];
        assert_eq!(choice["method"], method, "{devices:?}: {choice:#}");
    }
    // Who wants software gets software.
    let software = ["--qat", "4", "--accelerator", "software"];
    let advice = advise(&[&slow[..], &software].concat())?;
    assert_eq!(advice["devices"]["qat"], 0);
    Ok(())
}

/// A device that is here is measured, and what it does is predicted.
#[test]
fn a_device_of_this_host_is_measured() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    let library = StandIn::qatzip(&[])?;
    let library = format!("qatzip={}", library.path().display());
    let args = [
        "--ram",
        &ram,
        "--bandwidth",
        "1Mbit",
        "--methods",
        "none,qatzip",
    ];
    let device = ["--library", &library, "--qat", "1"];
    let advice = advise(&[&args[..], &device].concat())?;
    let candidate = &advice["links"][0]["candidates"][1];
    let implementation = candidate["implementation"].as_str().context("none")?;
    assert!(implementation.starts_with("hardware"), "{candidate:#}");
    let why = advice["links"][0]["choice"]["why"].to_string();
    assert!(!why.contains("no prediction"), "{why}");
    Ok(())
}

#[test]
fn a_guest_that_writes_faster_than_the_link_does_not_converge() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    let advice = advise(&["--ram", &ram, "--bandwidth", "1Mbit", "--dirty-rate", "1G"])?;
    let link = &advice["links"][0];
    for one in link["candidates"].as_array().context("no candidates")? {
        assert_eq!(one["converges"], false, "{one:#}");
    }
    let why = link["choice"]["why"].to_string();
    assert!(
        why.contains("no method gets the downtime below its limit"),
        "{why}"
    );
    Ok(())
}

#[test]
fn predictions_can_be_checked() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(300))?;
    let memory = ["--memory", "4M", "--fill", &fill];
    let check = ["advise", "--check", "--json", "--methods", "none,zstd"];
    let checked = run(&[&check[..], &memory, &SMALL].concat())?;
    let record = checked.json(0)?;
    let runs = record["runs"].as_array().context("no runs")?;
    assert_eq!(runs.len(), 8, "{record:#}");
    for run in runs {
        let time = run["total-time"].as_f64();
        assert!(time.is_some_and(|time| time > 0.0), "{run:#}");
    }
    // The table is for humans, and stdout for the object alone.
    assert!(
        checked.stderr.contains("round 3 of 3"),
        "{}",
        checked.stderr
    );
    let rows = checked.stderr.lines();
    let rows = rows.filter(|line| line.starts_with("zstd 1 "));
    assert_eq!(rows.count(), 4, "{}", checked.stderr);
    Ok(())
}

#[test]
fn wrong_questions_are_usage_errors() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    run(&["advise"])?.failed(&[2], &["--bandwidth"])?;
    run(&["advise", "--bandwidth", "fast"])?.failed(&[2], &["10Gbit"])?;
    run(&["advise", "--bandwidth", "1G", "--methods", "lz4"])?
        .failed(&[2], &["no method is named"])?;
    let missing = folder.text("missing");
    run(&["advise", "--bandwidth", "1G", "--ram", &missing])?.failed(&[1], &[&missing])?;
    let zeros = folder.write("zeros", &vec![0; 1 << 20])?;
    let advice = ["advise", "--bandwidth", "1G", "--ram", &zeros];
    run(&advice)?.failed(&[1], &["nothing but zero pages"])?;
    run(&["advise", "--bandwidth", "1G", "--ram", &ram, "--check"])?.failed(&[2], &["--check"])
}

#[test]
fn a_signal_ends_it() -> Result<()> {
    let folder = Folder::new()?;
    let ram = ram(&folder)?;
    let mut running = start(&["advise", "--bandwidth", "1G", "--ram", &ram])?;
    running.wait_line("measuring zlib")?;
    running.signal(Signal::INT)?;
    running.finish()?.failed(&[130], &["aborted"])
}
