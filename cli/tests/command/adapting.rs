// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations whose compression is chosen for each packet.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::harness::{Folder, guest, recv, relay, run, send};

const PAGES: usize = 2000;

/// The source and a relay adapt; nobody whom they send to knows.
#[test]
fn a_source_and_a_relay_choose_for_each_packet() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(PAGES))?;
    let zstd = "multifd-compression=zstd";
    let from = format!("unix:{}", folder.text("destination-socket"));
    let args = ["--ram", &folder.text("destination"), "--set", zstd];
    let (receiving, to) = recv(&from, &args)?;
    let listen = format!("unix:{}", folder.text("relay-socket"));
    let limits = ["--adapt", "--adapt-max-level", "3", "--nice", "19"];
    let sides = ["--in", "multifd-compression=zlib", "--out", zstd];
    let (relaying, address) = relay(&listen, &to, &[&limits[..], &sides].concat())?;
    let sent = [
        "--ram",
        &source,
        "--set",
        "multifd-compression=zlib",
        "--adapt",
        "--cpu-limit",
        "150",
    ];
    let sent = send(&address, &sent)?.json(0)?;
    let received = receiving.finish()?.json(0)?;
    let passed = relaying.finish()?.json(0)?;
    folder.same("source", "destination")?;
    ensure!(received.get("rungs").is_none(), "{received:#}");
    for (report, levels) in [
        (&sent, &["raw", "1", "3", "6", "9"][..]),
        (&passed["out"], &["raw", "-50", "-8", "-4", "1", "2", "3"]),
    ] {
        chosen(report, levels)?;
    }
    Ok(())
}

/// Where there is something to choose from it is measured beside the levels, and the page shows what was chosen.
#[test]
fn a_demo_and_a_bench_adapt() -> Result<()> {
    let folder = Folder::new()?;
    let page = folder.text("page.html");
    let memory = ["--memory", "16M", "--fill", env!("CARGO_BIN_EXE_multifd")];
    let common = ["--methods", "none,zstd", "--json", "--report", &page];
    let adapt = ["--adapt", "--adapt-max-level", "3", "--nice", "19"];
    let args = [&memory[..], &common, &adapt].concat();
    for (command, cases) in [
        (
            &["demo", "--threads", "--dirty-rate", "2M"][..],
            &[("none", false), ("zstd", true)][..],
        ),
        (
            &["bench", "--runs", "1"],
            &[("none", false), ("zstd", false), ("zstd", true)],
        ),
    ] {
        let measured = run(&[command, &args].concat())?.json(0)?;
        let rows = measured["results"].as_array().context("no results")?;
        ensure!(rows.len() == cases.len(), "{measured:#}");
        for (row, (method, adapts)) in rows.iter().zip(cases) {
            ensure!(row["method"] == *method && row["adapt"] == *adapts);
            ensure!(row["verified"] == true && row.get("rungs").is_some() == *adapts);
        }
        let page = fs::read_to_string(&page)?;
        for text in [
            "<h2>zstd adaptive</h2>",
            "<p>Packets by level: ",
            "<th>ratio</th>",
        ] {
            ensure!(page.contains(text), "{text} is not in the page");
        }
    }
    Ok(())
}

/// All packets with pages are counted, and none was made on another rung than these.
fn chosen(report: &Value, levels: &[&str]) -> Result<()> {
    let rungs = report["rungs"].as_array().context("no rungs")?;
    let mut bytes = 0;
    for rung in rungs {
        let level = rung["level"].as_str().context("no level")?;
        ensure!(levels.contains(&level), "{rungs:#?}");
        bytes += rung["guest-bytes"].as_u64().context("no bytes")?;
    }
    let normal = report
        .get("normal")
        .or_else(|| report.get("ram")?.get("normal"));
    let normal = normal.and_then(Value::as_u64);
    ensure!(
        Some(bytes) == normal.map(|pages| pages * 4096),
        "{report:#}"
    );
    Ok(())
}
