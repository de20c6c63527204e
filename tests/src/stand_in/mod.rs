//! Libraries that stand in for a vendor's with a device, on machines that have no such device.
//!
//! Each is a file of C in this folder, compiled when a test asks for it with the faults that the test
//! wants. What they show is that a method handles what a device's library answers, not that a device
//! answers so.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A compiled library, removed when it is dropped; what was loaded from it goes on.
#[derive(Debug)]
pub struct StandIn {
    folder: TempDir,
    file: &'static str,
}

impl StandIn {
    /// libqatzip with a device. `faults` are macros that its file explains, as `ANSWERS=0,-103`.
    ///
    /// # Errors
    /// There is no C compiler, or it does not take the file.
    pub fn qatzip(faults: &[&str]) -> Result<Self> {
        Self::compile("qatzip.c", "libqatzip.so.3", faults)
    }

    /// The library's file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.file)
    }

    fn compile(source: &str, file: &'static str, faults: &[&str]) -> Result<Self> {
        let library = Self {
            folder: tempfile::tempdir()?,
            file,
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/stand_in")
            .join(source);
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let output = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"])
            .args(faults.iter().map(|fault| format!("-D{fault}")))
            .arg("-o")
            .args([library.path(), source])
            .output()
            .with_context(|| format!("{}: wanted a C compiler", compiler.display()))?;
        ensure!(
            output.status.success(),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(library)
    }
}
