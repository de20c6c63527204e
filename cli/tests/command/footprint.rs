// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How much memory a migration takes beside the guest's.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::harness::start;

/// Bytes that each side may take.
const MOST: u64 = 64 << 20;

/// A guest of 256 MiB, or of the size that the environment variable `MULTIFD_GUEST_MEMORY` says: `8G` wants
/// a machine with 20 GiB.
#[test]
fn a_migration_takes_little_memory_of_its_own() -> Result<()> {
    let memory = std::env::var("MULTIFD_GUEST_MEMORY").unwrap_or_else(|_| "256M".into());
    for method in ["none", "zstd"] {
        let demo = ["demo", "--memory", &memory, "--methods", method, "--json"];
        let work = ["--working-set", "8M", "--dirty-rate", "4M"];
        let fill = ["--fill", env!("CARGO_BIN_EXE_multifd")];
        let mut demo = start(&[&demo[..], &work, &fill].concat())?;
        demo.wait_line("two processes")?;
        let mut most = BTreeMap::new();
        while demo.is_running()? {
            for process in children(demo.id()).unwrap_or_default() {
                // It may have ended just now.
                let Ok(bytes) = own_memory(&process) else {
                    continue;
                };
                let highest = most.entry(process).or_insert(0);
                *highest = bytes.max(*highest);
            }
            thread::sleep(Duration::from_millis(2));
        }
        let result = demo.finish()?.json(0)?;
        ensure!(result["results"][0]["verified"] == true, "{result:#}");
        ensure!(most.len() == 2, "{most:?}");
        let kib: Vec<_> = most.values().map(|bytes| bytes >> 10).collect();
        writeln!(std::io::stderr(), "{memory}, {method}: {kib:?} KiB")?;
        ensure!(
            most.values().all(|bytes| *bytes <= MOST),
            "{method}: {most:?}"
        );
    }
    Ok(())
}

/// The processes that a process has started.
fn children(process: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(text.split_whitespace().map(String::from).collect())
}

/// Bytes of a process's memory that are not the guest's, which is in files, with the page tables of all.
/// The pages are counted that the guest has changed at the destination: there its writes are its own.
fn own_memory(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = |name: &str| -> Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.context("no such line")?.parse()?)
    };
    Ok((kib("RssAnon:")? + kib("VmPTE:")?) << 10)
}
