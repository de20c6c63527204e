// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Libraries that stand in for a vendor's with a device, on machines that have no such device.
//!
//! Each is a file of C in this folder, compiled when a test asks for it with the faults that the test
//! wants. What they show is that a method handles what a device's library answers, not that a device
//! answers so.

use std::env;
use std::ffi::OsString;
use std::fs;
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
        let library = Self::in_a_folder("libqatzip.so.3")?;
        library.build("qatzip.c", &library.path(), &library.defines(faults))?;
        Ok(library)
    }

    /// libqpl with a device. `faults` are macros that its file explains, as `DEPTH=4`.
    ///
    /// # Errors
    /// As [`Self::qatzip`].
    pub fn qpl(faults: &[&str]) -> Result<Self> {
        let library = Self::in_a_folder("libqpl.so.1")?;
        library.build("qpl.c", &library.path(), &library.defines(faults))?;
        Ok(library)
    }

    /// UADK's libwd_comp with a device, and the libwd that it needs in the same folder. `faults` are
    /// macros that its file explains, as `GOOD_REQUESTS=7`.
    ///
    /// # Errors
    /// As [`Self::qatzip`].
    pub fn uadk(faults: &[&str]) -> Result<Self> {
        let library = Self::in_a_folder("libwd_comp.so.2")?;
        let base = library.folder().join("libwd.so.2");
        library.build("wd.c", &base, &["-Wl,-soname,libwd.so.2".into()])?;
        let mut arguments = library.defines(faults);
        arguments.push(base.into());
        library.build("wd_comp.c", &library.path(), &arguments)?;
        Ok(library)
    }

    /// The library's file.
    pub fn path(&self) -> PathBuf {
        self.folder().join(self.file)
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file with a line per event.
    pub fn log(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// The events so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self) -> Result<Vec<String>> {
        if !self.log().exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(self.log())?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn in_a_folder(file: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder, file })
    }

    /// The macros of these faults, and of the log's file.
    fn defines(&self, faults: &[&str]) -> Vec<OsString> {
        let faults = faults.iter().map(|fault| format!("-D{fault}").into());
        let log = format!("-DLOG=\"{}\"", self.log().display());
        faults.chain([log.into()]).collect()
    }

    fn build(&self, source: &str, target: &Path, arguments: &[OsString]) -> Result<()> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/stand_in")
            .join(source);
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let output = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"])
            .arg("-o")
            .args([target, &source])
            .args(arguments)
            .output()
            .with_context(|| format!("{}: wanted a C compiler", compiler.display()))?;
        ensure!(
            output.status.success(),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
