//! Which QEMU the tests talk to.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::{Builder, Qemu};

/// A QEMU binary that is new enough to be a peer.
///
/// [`require`] and [`Qemu::available`] find it: the one that the environment variable `MULTIFD_QEMU`
/// names, else `qemu-system-x86_64` on `PATH`. `MULTIFD_QEMU=none` switches the peers off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    version: (u32, u32),
}

impl Binary {
    /// The file to run.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor version, as in `(10, 0)`.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Starts the description of a process of this QEMU.
    #[must_use]
    pub fn machine(&self) -> Builder {
        Builder::new(self.clone())
    }
}

impl Qemu {
    /// The QEMU of this machine, or why there is none.
    ///
    /// # Errors
    ///
    /// See [`Unavailable`].
    pub fn available() -> Result<Binary, Unavailable> {
        let path = match env::var_os("MULTIFD_QEMU").filter(|value| !value.is_empty()) {
            Some(value) if value == "none" => return Err(Unavailable::SwitchedOff),
            Some(value) => PathBuf::from(value),
            None => on_path(NAME).ok_or(Unavailable::NotFound)?,
        };
        let version = version_of(&path)?;
        if version < OLDEST {
            return Err(Unavailable::TooOld { path, version });
        }
        Ok(Binary { path, version })
    }
}

/// Why a machine has no QEMU to test against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// `MULTIFD_QEMU` is `none`.
    SwitchedOff,
    /// No `qemu-system-x86_64` on `PATH`, and `MULTIFD_QEMU` names none.
    NotFound,
    /// The binary cannot be run or does not say its version.
    NotUsable {
        /// The file that was tried.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The binary is older than 9.0.
    TooOld {
        /// The file that was tried.
        path: PathBuf,
        /// Its major and minor version.
        version: (u32, u32),
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => write!(f, "MULTIFD_QEMU=none switches the peers off"),
            Self::NotFound => write!(
                f,
                "no {NAME} on PATH: run scripts/install-qemu.sh or name one in MULTIFD_QEMU"
            ),
            Self::NotUsable { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::TooOld { path, version } => write!(
                f,
                "{} is version {}.{}, wanted {}.{} or newer: run scripts/install-qemu.sh",
                path.display(),
                version.0,
                version.1,
                OLDEST.0,
                OLDEST.1
            ),
        }
    }
}

impl std::error::Error for Unavailable {}

/// The QEMU to test against, or `None` if this machine has none and may do without.
///
/// `None` is announced on stderr, past the test harness's capture: the test that asked is to return
/// at once.
///
/// # Errors
///
/// A missing peer is an error where peers are required: with `MULTIFD_REQUIRE_PEERS=1`, and with
/// `CI=true` unless `MULTIFD_QEMU=none` asks for a run without them.
pub fn require() -> Result<Option<Binary>> {
    let missing = match Qemu::available() {
        Ok(binary) => return Ok(Some(binary)),
        Err(missing) => missing,
    };
    let in_ci = is_set("CI") && missing != Unavailable::SwitchedOff;
    if in_ci || is_set("MULTIFD_REQUIRE_PEERS") {
        bail!("a peer is required: {missing}");
    }
    // In one piece, so that lines of tests that run at once do not mix.
    let line = format!("skipped: {missing}\n");
    io::stderr().write_all(line.as_bytes())?;
    Ok(None)
}

fn is_set(name: &str) -> bool {
    env::var(name).is_ok_and(|value| value == "1" || value == "true")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path: OsString = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn version_of(path: &Path) -> Result<(u32, u32), Unavailable> {
    let not_usable = |reason: String| Unavailable::NotUsable {
        path: path.to_owned(),
        reason,
    };
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| not_usable(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    parse_version(first).ok_or_else(|| not_usable(format!("wanted a version, got {first:?}")))
}

/// Reads `QEMU emulator version 10.0.2 (...)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

const NAME: &str = "qemu-system-x86_64";

/// Zero pages travel in multifd packets, and SYNC in packets of its own, from 9.0 on.
const OLDEST: (u32, u32) = (9, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_released_and_distribution_versions() {
        let debian = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)";
        assert_eq!(parse_version(debian), Some((10, 0)));
        assert_eq!(parse_version("QEMU emulator version 9.2.50"), Some((9, 2)));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn a_file_that_does_not_run_is_named() {
        let path = Path::new("/nonexistent/qemu");
        let error = version_of(path).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/qemu: "));
    }
}
