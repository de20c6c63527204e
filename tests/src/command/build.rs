// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Finding the command that is to be tested.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Running;

/// The file of the command `multifd`.
#[derive(Clone, Debug)]
pub struct Multifd(PathBuf);

impl Multifd {
    /// The command of this tree, built now if it is not up to date, or the one that the environment
    /// variable `MULTIFD_COMMAND` names. A process asks cargo only once.
    ///
    /// # Errors
    /// It does not compile.
    pub fn build() -> Result<Self> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| find().map_err(|error| format!("{error:#}")));
        match built {
            Ok(path) => Ok(Self(path.clone())),
            Err(error) => bail!("the command multifd: {error}"),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Starts it.
    ///
    /// # Errors
    /// The system's.
    pub fn start<I, S>(&self, args: I) -> Result<Running>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Running::start(Command::new(&self.0).args(args))
    }
}

fn find() -> Result<PathBuf> {
    if let Some(path) = env::var_os("MULTIFD_COMMAND").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The same packages and features as in a test of the workspace: what that has built is used.
    command.args(["build", "--workspace", "--all-features", "--bin", "multifd"]);
    command.args(["--locked", "--quiet", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .context("cargo does not run")?;
    if !output.status.success() {
        bail!(
            "cargo build failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message.pointer("/target/name")?.as_str()?;
        let path = message.get("executable")?.as_str()?;
        (name == "multifd").then(|| PathBuf::from(path))
    });
    executable.context("cargo build made no command")
}
