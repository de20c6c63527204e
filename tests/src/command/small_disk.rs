// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command on a disk that is too small.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::{Multifd, Running};

/// Whether this user may mount file systems that nobody else sees, as in a user namespace of Linux.
#[must_use]
pub fn has_small_disks() -> bool {
    let mut command = on_small_disk(Path::new("/tmp"), 1 << 20);
    command
        .arg("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Multifd {
    /// Starts it where `folder` is a file system of so many bytes, which nobody else sees.
    ///
    /// # Errors
    /// The system's. That it [cannot mount](has_small_disks) shows as an early end of the command.
    pub fn start_on_small_disk<I, S>(&self, folder: &Path, bytes: u64, args: I) -> Result<Running>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Running::start(on_small_disk(folder, bytes).arg(self.path()).args(args))
    }
}

/// What runs the command that is given to it as further arguments.
fn on_small_disk(folder: &Path, bytes: u64) -> Command {
    const SCRIPT: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        SCRIPT,
        "sh",
    ]);
    command.arg(bytes.to_string()).arg(folder);
    command
}
