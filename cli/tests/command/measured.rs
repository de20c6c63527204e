// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `demo` and `bench`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::harness::{Folder, METHODS, guest, run, start};

/// Data to fill memory with that every machine has: the command itself.
const FILL: &str = env!("CARGO_BIN_EXE_multifd");

/// With KVM where it can be used, and with threads.
#[test]
fn the_demo_verifies_a_running_guest_with_every_method() -> Result<()> {
    for threads in [&[][..], &["--threads"]] {
        let demo = ["demo", "--memory", "16M", "--fill", FILL, "--json"];
        let demo = [&demo[..], &["--dirty-rate", "2M"]].concat();
        let demo = run(&[&demo[..], threads].concat())?.json(0)?;
        let processors = &demo["guest"]["processors"];
        assert!(processors == "threads" || (processors == "kvm" && threads.is_empty()));
        verified(&demo)?;
        for row in demo["results"].as_array().context("no results")? {
            // The start, and the last memory, are the least.
            assert!(row["dirty-sync-count"].as_u64() >= Some(2), "{row:#}");
        }
    }
    Ok(())
}

#[test]
fn the_demo_verifies_memory_that_stands_still() -> Result<()> {
    let demo = [
        "demo", "--memory", "16M", "--fill", FILL, "--json", "--still",
    ];
    let demo = run(&demo)?.json(0)?;
    assert!(demo["guest"].is_null());
    verified(&demo)
}

/// The price of TLS stands beside each method.
#[test]
fn everything_is_measured_over_tls_too() -> Result<()> {
    let methods = [
        "--methods",
        "none,zstd",
        "--memory",
        "16M",
        "--fill",
        FILL,
        "--tls",
        "--json",
    ];
    for command in [
        &["demo", "--dirty-rate", "2M"][..],
        &["bench", "--runs", "1"],
    ] {
        let report = run(&[command, &methods].concat())?.json(0)?;
        let rows = report["results"].as_array().context("no results")?;
        let ways: Vec<_> = rows
            .iter()
            .map(|row| (row["method"].as_str(), row["tls"].as_bool()))
            .collect();
        let way = |method, tls| (Some(method), Some(tls));
        assert_eq!(
            ways,
            [
                way("none", false),
                way("none", true),
                way("zstd", false),
                way("zstd", true)
            ]
        );
        assert!(rows.iter().all(|row| row["verified"] == true), "{report:#}");
    }
    Ok(())
}

/// A guest that writes faster than its pages can be sent never fits into its downtime, but it can be
/// slowed down.
#[test]
fn a_guest_that_is_too_fast_is_throttled() -> Result<()> {
    let rate = ["--dirty-rate", "0", "--max-bandwidth", "64M"];
    let demo = [
        "demo",
        "--memory",
        "32M",
        "--fill",
        FILL,
        "--methods",
        "none",
        "--json",
    ];
    let limit = ["--set", "downtime-limit=20"];
    let demo = run(&[&demo[..], &rate, &limit].concat())?.json(0)?;
    let row = &demo["results"][0];
    assert_eq!(row["verified"], true, "{row:#}");
    assert!(row["dirty-sync-count"].as_u64() > Some(3), "{row:#}");
    Ok(())
}

/// Each method has a row, and each is verified and compresses.
fn verified(demo: &Value) -> Result<()> {
    assert_eq!(demo["memory"], 16 << 20);
    let results = demo["results"].as_array().context("no results")?;
    let methods: Vec<_> = results.iter().map(|row| row["method"].clone()).collect();
    assert_eq!(methods, METHODS);
    for row in results {
        assert_eq!(row["verified"], true, "{row:#}");
        let compresses = row["method"] != "none";
        // 15 % zero pages alone make 1.17.
        let ratio = row["ratio"].as_f64().context("no ratio")?;
        assert!(ratio > if compresses { 1.3 } else { 1.1 }, "{row:#}");
    }
    Ok(())
}

#[test]
fn memory_that_differs_is_found() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let demo = [
        "demo",
        "--memory",
        "4M",
        "--fill",
        &fill,
        "--methods",
        "none",
        "--json",
        "--still",
    ];
    let mut demo = start(&[&demo[..], &["--max-bandwidth", "2M"]].concat())?;
    demo.wait_line("two processes")?;
    let (source, destination) = (
        memfd(demo.id(), "source")?,
        memfd(demo.id(), "destination")?,
    );
    let first = |file: &File| -> Result<u8> {
        let mut byte = [0];
        file.read_exact_at(&mut byte, 0)?;
        Ok(byte[0])
    };
    // The first page has arrived; most of the others have not.
    while first(&source)? != first(&destination)? {
        anyhow::ensure!(demo.is_running()?, "{:#?}", demo.finish());
        thread::sleep(Duration::from_millis(1));
    }
    source.write_all_at(&[!first(&source)?], 0)?;

    let finished = demo.finish()?;
    finished.failed(&[6], &["differs from offset 0x0 on"])?;
    assert_eq!(finished.json(6)?["results"][0]["verified"], false);
    Ok(())
}

/// Opens a memfd of another process.
fn memfd(pid: u32, name: &str) -> Result<File> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let target = fs::read_link(&path)?;
        if target
            .to_string_lossy()
            .starts_with(&format!("/memfd:{name}"))
        {
            return Ok(File::options().read(true).write(true).open(path)?);
        }
    }
    anyhow::bail!("no memfd {name} in process {pid}")
}

#[test]
fn the_bench_takes_every_case_in_turn() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let args = [
        "--channels",
        "1,3",
        "--methods",
        "none,zstd",
        "--levels",
        "1,9",
        "--runs",
        "2",
    ];
    let bench = ["bench", "--memory", "2M", "--fill", &fill];
    let table = run(&[&bench[..], &args].concat())?;
    table.ended(&[0], &["warm-up", "zstd level 9, 3 channels, run 2 of 2"])?;
    assert_eq!(table.stdout.matches(" yes").count(), 6, "{}", table.stdout);

    let json = run(&[&bench[..], &args, &["--json"]].concat())?.json(0)?;
    let rows = json["results"].as_array().context("no results")?;
    let cases: Vec<_> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {}",
                row["method"], row["level"], row["channels"], row["runs"]
            )
        })
        .collect();
    let want = [
        "\"none\" null 1 2",
        "\"zstd\" 1 1 2",
        "\"zstd\" 9 1 2",
        "\"none\" null 3 2",
        "\"zstd\" 1 3 2",
        "\"zstd\" 9 3 2",
    ];
    assert_eq!(cases, want);
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_said() -> Result<()> {
    let folder = Folder::new()?;
    run(&["demo", "--methods", "none,lz4"])?
        .failed(&[2], &["lz4", "none, zlib, zstd, qatzip, qpl, uadk"])?;
    let empty = folder.text("");
    run(&["demo", "--memory", "1M", "--fill", &empty])?
        .failed(&[1], &["no data", "--fill PATH"])?;
    run(&["demo", "--memory", "4095"])?.failed(&[2], &["multiple of the page size"])?;
    run(&["bench", "--methods", "zlib", "--levels", "10"])?.failed(&[2], &["between 0 and 9"])
}
