// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Python's standard library as a second opinion on what a payload holds.

use std::fs;
use std::io::{self, Write};
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

/// Runs a script that gets the payloads as files, in order, and answers what it wrote to its output.
///
/// `None` without a `python3`, unless `MULTIFD_REQUIRE_PEERS=1` demands one.
///
/// # Errors
/// The script failed, with what it wrote to stderr.
pub fn python(script: &str, payloads: &[Vec<u8>]) -> Result<Option<Vec<u8>>> {
    let folder = TempDir::new()?;
    let mut command = Command::new("python3");
    command.arg("-c").arg(script);
    for (number, payload) in payloads.iter().enumerate() {
        let path = folder.path().join(number.to_string());
        fs::write(&path, payload)?;
        command.arg(path);
    }
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required() => {
            writeln!(io::stderr(), "skipped: there is no python3")?;
            return Ok(None);
        }
        output => output?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(Some(output.stdout))
}

fn is_required() -> bool {
    std::env::var_os("MULTIFD_REQUIRE_PEERS").is_some_and(|value| value == "1")
}
