// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which QEMU the tests talk to.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::Qemu;

/// A QEMU binary that can be a peer.
///
/// [`require`] and [`Qemu::available`] find a current one: the one that the environment variable
/// `MULTIFD_QEMU` names, else `qemu-system-x86_64` on `PATH`. `MULTIFD_QEMU=none` switches the peers
/// off. [`require_old`] finds one of the years before, [`require_new`] one that is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    version: (u32, u32),
    data: Vec<PathBuf>,
    emulates: bool,
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

    /// Where its firmware is, if it is not where it was installed to.
    pub(super) fn data(&self) -> &[PathBuf] {
        &self.data
    }

    /// Whether its processor is another one than this machine's: then only TCG will do.
    pub(super) fn emulates(&self) -> bool {
        self.emulates
    }

    /// The same, of another processor.
    pub(super) fn that_emulates(self) -> Self {
        Self {
            emulates: true,
            ..self
        }
    }
}

impl Qemu {
    /// The QEMU of this machine, or why there is none.
    ///
    /// # Errors
    ///
    /// See [`Unavailable`].
    pub fn available() -> Result<Binary, Unavailable> {
        CURRENT.find(|| CURRENT.on_path())
    }

    /// A QEMU of this machine from before 9.0, or why there is none: the one that `MULTIFD_QEMU_OLD`
    /// names, else the one that `scripts/install-qemu-7.2.sh` has unpacked.
    ///
    /// # Errors
    ///
    /// See [`Unavailable`].
    pub fn old() -> Result<Binary, Unavailable> {
        let binary = OLD.find(|| OLD.unpacked("qemu-7.2/usr/bin"))?;
        let data = data_beside(&binary.path);
        Ok(Binary { data, ..binary })
    }

    /// A QEMU of this machine that takes `postcopy-ram` together with multifd, or why there is none: the one
    /// that `MULTIFD_QEMU_NEW` names, else the one that `scripts/install-qemu-11.1.sh` has unpacked.
    ///
    /// # Errors
    ///
    /// See [`Unavailable`].
    pub fn newer() -> Result<Binary, Unavailable> {
        NEW.find(|| NEW.unpacked("qemu-11.1"))
    }
}

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its file's name.
    pub(super) program: &'static str,
    /// The environment variable that names one.
    pub(super) variable: &'static str,
    /// What gets one where there is none.
    pub(super) script: &'static str,
    /// Which versions will do, from the first up to but without the second.
    pub(super) versions: [Option<(u32, u32)>; 2],
}

impl Wanted {
    /// What `scripts/install-qemu.sh` gets.
    pub(super) const CURRENT: Self = Self {
        program: "qemu-system-x86_64",
        variable: "MULTIFD_QEMU",
        script: "scripts/install-qemu.sh",
        versions: [Some(OLDEST), None],
    };

    /// The one that the variable names, else what `otherwise` finds.
    pub(super) fn find(
        &'static self,
        otherwise: impl FnOnce() -> Option<PathBuf>,
    ) -> Result<Binary, Unavailable> {
        let path = match named(self.variable) {
            Some(value) if value == "none" => return Err(Unavailable::SwitchedOff(self.variable)),
            Some(value) => PathBuf::from(value),
            None => otherwise().ok_or(Unavailable::NotFound(self))?,
        };
        let version = version_of(&path)?;
        let [oldest, end] = self.versions;
        if oldest.is_some_and(|oldest| version < oldest) || end.is_some_and(|end| version >= end) {
            let wanted = self;
            return Err(Unavailable::WrongVersion {
                path,
                version,
                wanted,
            });
        }
        Ok(Binary {
            path,
            version,
            data: Vec::new(),
            emulates: false,
        })
    }

    /// One in a folder of the environment's `PATH`.
    pub(super) fn on_path(&self) -> Option<PathBuf> {
        let path: OsString = env::var_os("PATH")?;
        env::split_paths(&path)
            .map(|folder| folder.join(self.program))
            .find(|file| file.is_file())
    }

    /// One in this folder of those that the scripts unpack.
    fn unpacked(&self, folder: &str) -> Option<PathBuf> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.peers");
        let file = peers.join(folder).join(self.program);
        file.is_file().then_some(file)
    }
}

/// Says which versions will do.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.versions {
            [Some((major, minor)), _] => write!(f, "{major}.{minor} or newer"),
            [None, Some((major, minor))] => write!(f, "one older than {major}.{minor}"),
            [None, None] => f.write_str("any"),
        }
    }
}

/// Why a machine has no QEMU to test against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The variable of this name is `none`.
    SwitchedOff(&'static str),
    /// There is none where one is looked for, and the variable names none.
    NotFound(&'static Wanted),
    /// The binary cannot be run or does not say its version.
    NotUsable {
        /// The file that was tried.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The binary is too old, or too new.
    WrongVersion {
        /// The file that was tried.
        path: PathBuf,
        /// Its major and minor version.
        version: (u32, u32),
        /// What was looked for.
        wanted: &'static Wanted,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff(name) => write!(f, "{name}=none switches these peers off"),
            Self::NotFound(wanted) => write!(
                f,
                "no {}, wanted {wanted}: run {} or name one in {}",
                wanted.program, wanted.script, wanted.variable
            ),
            Self::NotUsable { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::WrongVersion {
                path,
                version,
                wanted,
            } => write!(
                f,
                "{} is version {}.{}, wanted {wanted}: run {}",
                path.display(),
                version.0,
                version.1,
                wanted.script
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
/// A missing peer is an error where [peers are required](are_required), unless `MULTIFD_QEMU=none` asks
/// for a run without them.
pub fn require() -> Result<Option<Binary>> {
    found(Qemu::available())
}

/// A QEMU from before 9.0 to test against, or `None`; as [`require`].
///
/// # Errors
///
/// A missing one is an error where [peers are required](are_required), unless `MULTIFD_QEMU_OLD=none`
/// asks for a run without it.
pub fn require_old() -> Result<Option<Binary>> {
    found_unless_switched_off(Qemu::old())
}

/// A QEMU that is newer than the current one to test against, or `None`; as [`require`].
///
/// # Errors
///
/// A missing one is an error where [peers are required](are_required), unless `MULTIFD_QEMU_NEW=none`
/// asks for a run without it.
pub fn require_new() -> Result<Option<Binary>> {
    found_unless_switched_off(Qemu::newer())
}

/// Whether a test that lacks something of this machine is to fail: with `MULTIFD_REQUIRE_PEERS=1` and
/// with `CI=true`.
#[must_use]
pub fn are_required() -> bool {
    is_set("CI") || is_set("MULTIFD_REQUIRE_PEERS")
}

pub(super) fn found_unless_switched_off(
    binary: Result<Binary, Unavailable>,
) -> Result<Option<Binary>> {
    match binary {
        Err(missing @ Unavailable::SwitchedOff(_)) => skip(&missing),
        result => found(result),
    }
}

fn found(binary: Result<Binary, Unavailable>) -> Result<Option<Binary>> {
    let missing = match binary {
        Ok(binary) => return Ok(Some(binary)),
        Err(missing) => missing,
    };
    let asked_for = matches!(missing, Unavailable::SwitchedOff(_));
    if is_set("MULTIFD_REQUIRE_PEERS") || (is_set("CI") && !asked_for) {
        bail!("a peer is required: {missing}");
    }
    skip(&missing)
}

fn skip(missing: &Unavailable) -> Result<Option<Binary>> {
    // In one piece, so that lines of tests that run at once do not mix.
    let line = format!("skipped: {missing}\n");
    io::stderr().write_all(line.as_bytes())?;
    Ok(None)
}

fn is_set(name: &str) -> bool {
    env::var(name).is_ok_and(|value| value == "1" || value == "true")
}

fn named(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

/// Where the firmware of a QEMU is that was unpacked into a folder: beside its `bin`.
fn data_beside(binary: &Path) -> Vec<PathBuf> {
    let share = binary.parent().and_then(Path::parent);
    let share = share.map(|prefix| prefix.join("share"));
    let folders = share
        .into_iter()
        .flat_map(|share| ["seabios", "qemu"].map(|name| share.join(name)));
    folders.filter(|folder| folder.is_dir()).collect()
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

/// Zero pages travel in multifd packets, and SYNC in packets of its own, from here on.
const OLDEST: (u32, u32) = (9, 0);

static CURRENT: Wanted = Wanted::CURRENT;

static OLD: Wanted = Wanted {
    variable: "MULTIFD_QEMU_OLD",
    script: "scripts/install-qemu-7.2.sh",
    versions: [None, Some(OLDEST)],
    ..Wanted::CURRENT
};

static NEW: Wanted = Wanted {
    variable: "MULTIFD_QEMU_NEW",
    script: "scripts/install-qemu-11.1.sh",
    versions: [Some((10, 1)), None],
    ..Wanted::CURRENT
};

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
