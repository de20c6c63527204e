// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! libqpl for the tests that want it, with a C library that it runs with.
//!
//! The only distribution that packages libqpl has a newer C library than most machines. Where the folder
//! of the library has that C library's loader too, as `scripts/install-libqpl.sh` makes it, a test runs
//! in a process of its own with that loader. A program that was built for an older C library runs with
//! a newer one.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{MethodFactory as _, MethodOptions};
use multifd_qpl::QplFactory;

/// Runs a test that gets the path of libqpl. `name` is the test's own, as its harness lists it.
///
/// Without a libqpl, or where `MULTIFD_QPL_LIBRARY` is `none`, the test is skipped, and says so on stderr.
///
/// # Errors
/// The test's; or there is no libqpl, and `MULTIFD_REQUIRE_PEERS=1` says that there has to be one.
pub fn with(name: &str, test: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let named = env::var(VARIABLE).ok().filter(|path| !path.is_empty());
    if named.as_deref() == Some(NONE) {
        return skip("none was asked for");
    }
    let Some(library) = named.or_else(found) else {
        return missing();
    };
    match rerun(&library)? {
        Some(again) => inside(again, &library, name),
        None => test(&library),
    }
}

/// This program, with the C library in the folder of the library; `None` if there is none in it, or if this
/// is that program already.
///
/// # Errors
/// This program is not to be found.
pub fn rerun(library: &str) -> Result<Option<Command>> {
    let loader = loader(library).filter(|_| env::var_os(INSIDE).is_none());
    loader
        .map(|loader| {
            let mut again = command(&loader, &env::current_exe()?);
            again.env(INSIDE, "1");
            Ok(again)
        })
        .transpose()
}

/// The library of the system, or what `scripts/install-libqpl.sh` has unpacked.
fn found() -> Option<String> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(UNPACKED);
    if can_load(LIBRARY) {
        Some(LIBRARY.to_owned())
    } else if unpacked.exists() {
        unpacked.into_os_string().into_string().ok()
    } else {
        None
    }
}

/// The program that starts others with the C library in the folder of this one.
pub fn loader(library: &str) -> Option<PathBuf> {
    let path = Path::new(library).parent()?.join(LOADER);
    path.exists().then_some(path)
}

/// A command that runs `program` with the C library in the folder of `loader`.
pub fn command(loader: &Path, program: &Path) -> Command {
    let mut command = Command::new(loader);
    if let Some(folder) = loader.parent() {
        command.arg("--library-path").arg(folder);
    }
    command.arg(program);
    command
}

/// Runs the one test of this program in another process.
fn inside(mut again: Command, library: &str, name: &str) -> Result<()> {
    let output = again
        .args(["--exact", name, "--nocapture"])
        .env(VARIABLE, library)
        .output()
        .with_context(|| format!("{again:?} does not run"))?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let ran = stdout.contains("test result: ok. 1 passed");
    ensure!(
        output.status.success() && ran,
        "{again:?}: {}\n{stdout}{stderr}",
        output.status
    );
    Ok(())
}

fn can_load(library: &str) -> bool {
    let options = MethodOptions::new()
        .with(Accelerator::OPTION, Accelerator::Library)
        .with("qpl-library", library);
    QplFactory.open(&options).is_ok()
}

fn missing() -> Result<()> {
    let how =
        format!("run scripts/install-libqpl.sh and name the library that it prints in {VARIABLE}");
    let required = env::var("MULTIFD_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    if required && cfg!(target_arch = "x86_64") {
        bail!("libqpl is required, but there is none: {how}");
    }
    skip(&how)
}

fn skip(why: &str) -> Result<()> {
    // In one piece, so that lines of tests that run at once do not mix.
    Ok(io::stderr().write_all(format!("skipped: no libqpl: {why}\n").as_bytes())?)
}

/// Names the library, or says that there is none.
const VARIABLE: &str = "MULTIFD_QPL_LIBRARY";
const NONE: &str = "none";
/// Tells a program that it was started with the library's loader.
const INSIDE: &str = "MULTIFD_TESTS_INSIDE_LOADER";
/// Where the system has it.
const LIBRARY: &str = "libqpl.so.1";
/// Where the script unpacks it, from this package.
const UNPACKED: &str = "../.peers/libqpl/root/usr/lib/x86_64-linux-gnu/libqpl.so.1";
const LOADER: &str = "ld-linux-x86-64.so.2";
