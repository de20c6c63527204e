// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `--accelerator` and `--library`: who does the work, and what is said about it.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::Finished;
use multifd_tests::stand_in::StandIn;
use multifd_tests::vendor_library;
use serde_json::Value;

use crate::harness::{Folder, PAGE, guest, recv, run, send};

/// The real library: with a device, or refused, since it loses thread keys without one.
#[test]
fn a_demo_with_the_library_says_so() -> Result<()> {
    let Some(file) = vendor_library::require("qatzip")? else {
        return Ok(());
    };
    let finished = demo(&["library", &format!("qatzip={file}")], &["--json"])?;
    if finished.code != Some(0) {
        ensure!(
            finished.stderr.contains("accelerator=library, but ")
                && finished.stderr.contains("1024 thread keys"),
            "{finished:?}"
        );
        return Ok(());
    }
    let rows = finished.json(0)?;
    let row = &rows["results"][0];
    assert_eq!(row["verified"], true, "{row:#}");
    for side in ["send-paths", "recv-paths"] {
        let paths = &row[side];
        assert_eq!(paths["software"], 0, "{row:#}");
        assert!(packets(paths, "vendor-software") + packets(paths, "hardware") > 0);
        assert_eq!(paths["fallbacks"], serde_json::json!({}), "{row:#}");
    }
    Ok(())
}

/// A library that stands in for one with a device.
#[test]
fn a_demo_with_a_device_says_so() -> Result<()> {
    for (faults, choice, want) in [
        (vec![], "hardware", "hw"),
        (vec!["NO_DEVICE"], "library", "vendor"),
        (vec!["NO_DEVICE"], "auto", "soft"),
        // Some packets, at both sides.
        (vec!["ANSWERS=0,-103"], "auto", "hw+soft!"),
    ] {
        let library = StandIn::qatzip(&faults)?;
        let library = format!("qatzip={}", library.path().display());
        let finished = demo(&[choice, &library], &[])?;
        let path = column(&finished.stdout)?;
        assert_eq!(path, want, "{faults:?}, {choice}: {}", finished.stdout);
    }
    Ok(())
}

/// Both sides say at the start who does the work, unless they are to be quiet.
#[test]
fn the_implementation_is_told() -> Result<()> {
    let folder = Folder::new()?;
    let library = StandIn::qatzip(&[])?;
    let library = format!("qatzip={}", library.path().display());
    let source = folder.write("source", &guest(100))?;
    let line = "qatzip: hardware (libqatzip.so.3; ";
    for quiet in [&[][..], &["--quiet"]] {
        let target = folder.path("target").display().to_string();
        let to_both = ["--set", "multifd-compression=qatzip", "--library", &library];
        let args = |ram| [&["--ram", ram], &to_both[..], quiet].concat();
        let (destination, address) = recv("tcp:127.0.0.1:0", &args(&target))?;
        let sent = send(&address, &args(&source))?;
        let received = destination.finish()?;
        for finished in [sent, received] {
            assert_eq!(
                finished.stderr.contains(line),
                quiet.is_empty(),
                "{finished:?}"
            );
            let report = finished.json(0)?;
            let implementation = report["implementation"].as_str().unwrap_or_default();
            ensure!(
                implementation.starts_with("hardware (libqatzip.so.3; "),
                "{implementation}"
            );
            assert!(packets(&report["paths"], "hardware") > 0, "{report:#}");
        }
        ensure!(fs::read(&target)? == guest(100), "other memory");
        fs::remove_file(&target)?;
    }
    Ok(())
}

#[test]
fn hardware_that_is_not_there_is_an_error_with_advice() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &vec![1; PAGE])?;
    let finished = send(
        "unix:/nonexistent",
        &[
            "--ram",
            &source,
            "--set",
            "multifd-compression=qatzip",
            "--accelerator",
            "hardware",
            "--library",
            "qatzip=/nonexistent/libqatzip.so.3",
        ],
    )?;
    assert_eq!(finished.code, Some(5), "{finished:?}");
    for want in [
        "/nonexistent/libqatzip.so.3",
        "What may be missing",
        "install libqatzip",
    ] {
        assert!(finished.stderr.contains(want), "{finished:?}");
    }
    Ok(())
}

/// Runs the demo of qatzip with an accelerator and a library.
fn demo(choice: &[&str; 2], more: &[&str]) -> Result<Finished> {
    let [accelerator, library] = choice;
    let args = [
        "demo",
        "--memory",
        "8M",
        "--fill",
        env!("CARGO_BIN_EXE_multifd"),
        "--methods",
        "qatzip",
        "--accelerator",
        accelerator,
        "--library",
        library,
    ];
    run(&[&args[..], more].concat())
}

/// The path in the only row of a table.
fn column(table: &str) -> Result<String> {
    let row = table.lines().find(|line| line.contains("qatzip"));
    let cells: Vec<_> = row.context("no row")?.split_whitespace().collect();
    let verified = cells
        .iter()
        .position(|cell| *cell == "yes")
        .context("not verified")?;
    let path = cells.get(verified.wrapping_sub(1)).context("no path")?;
    Ok((*path).to_owned())
}

fn packets(paths: &Value, path: &str) -> u64 {
    paths[path].as_u64().unwrap_or(0)
}
