// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The cases of the table of interoperation, a test for each group.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::interop::{Age, Counterpart, QEMU_TESTS, Row, cases, run_group, table_of_tests};

macro_rules! groups {
    ($($group:ident),+ $(,)?) => {
        $(
            #[test]
            fn $group() -> Result<()> {
                run_group(stringify!($group))
            }
        )+

        const GROUPS: &[&str] = &[$(stringify!($group)),+];
    };
}

groups!(
    memory,
    saved,
    tcp,
    failures_from,
    failures_to,
    relay,
    processors
);

#[test]
fn every_case_is_run() {
    let groups: BTreeSet<_> = cases().iter().map(|case| case.group).collect();
    assert_eq!(groups, GROUPS.iter().copied().collect());
    let names: BTreeSet<_> = cases().iter().map(|case| case.row.name()).collect();
    assert_eq!(names.len(), cases().len(), "two cases of one name");
}

/// The lines of the page are those of the cases, in their order.
#[test]
fn the_page_has_every_case() -> Result<()> {
    let page = page()?;
    let version = |age| match age {
        Age::Current | Age::Emulator(_) => "10.0".to_owned(),
        Age::Old => "7.2".to_owned(),
        Age::New => "11.1".to_owned(),
    };
    let wanted = cases()
        .into_iter()
        .map(|case| format!("| {} | ", case.row.columns(&version).join(" | ")));
    let lines = page
        .lines()
        .skip_while(|line| !line.starts_with("| QEMU |"));
    let mut lines = lines.skip(2).take_while(|line| line.starts_with('|'));
    for start in wanted {
        let line = lines.next().context(start.clone())?;
        ensure!(line.starts_with(&start), "{line:?} instead of {start:?}");
    }
    ensure!(lines.next().is_none(), "a line of no case");
    Ok(())
}

#[test]
fn the_page_has_every_test_of_qemus() -> Result<()> {
    ensure!(
        page()?.contains(&table_of_tests()),
        "not what --qemu-tests prints:\n{}",
        table_of_tests()
    );
    Ok(())
}

/// What is named as the counterpart of a test of QEMU's is there.
#[test]
fn every_counterpart_exists() -> Result<()> {
    let cases = cases();
    for theirs in QEMU_TESTS {
        let name = theirs.name;
        ensure!(
            !theirs.here.is_empty() || !theirs.remark.is_empty(),
            "{name}: neither a counterpart nor a reason"
        );
        for here in theirs.here {
            match here {
                Counterpart::Line {
                    group,
                    method,
                    mode,
                } => {
                    let is_it = |row: &Row| {
                        let settings = (row.method.as_str(), row.mode.as_str());
                        settings == (*method, *mode) && row.peers.ages() == [Age::Current; 2]
                    };
                    let count = cases
                        .iter()
                        .filter(|case| case.group == *group && is_it(&case.row))
                        .count();
                    ensure!(count == 1, "{name}: {count} cases are {here:?}");
                }
                Counterpart::Test { file, function } => {
                    let text = fs::read_to_string(root().join(file)).context(*file)?;
                    let start = format!("#[test]\nfn {function}(");
                    ensure!(
                        text.contains(&start),
                        "{name}: no test {function} in {file}"
                    );
                }
            }
        }
    }
    Ok(())
}

fn page() -> Result<String> {
    Ok(fs::read_to_string(root().join("docs/interop.md"))?)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
