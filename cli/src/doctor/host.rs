// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The files of a host, below a root.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access as Wanted, access};

use super::user::User;

/// A host's `/sys`, `/proc`, `/dev` and libraries. What cannot be read is as if it were not there; that
/// it could not be read is remembered.
pub(crate) struct Host {
    root: PathBuf,
    /// Whether it is the host that this process runs on.
    here: bool,
    user: User,
    unreadable: RefCell<BTreeSet<String>>,
}

/// Whether a device can be opened for reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Usable,
    Denied,
    Missing,
}

impl Host {
    /// The host that this process runs on.
    pub(crate) fn here() -> Self {
        Self::new(Path::new("/"), true)
    }

    /// A host whose files lie below `root`.
    pub(crate) fn at(root: &Path) -> Self {
        Self::new(root, false)
    }

    fn new(root: &Path, here: bool) -> Self {
        let mut host = Self {
            root: root.to_owned(),
            here,
            user: User::default(),
            unreadable: RefCell::default(),
        };
        host.user = User::of(&host.read("proc/self/status").unwrap_or_default());
        host
    }

    pub(crate) fn is_here(&self) -> bool {
        self.here
    }

    /// The user that the findings are about.
    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    /// An environment variable; another host has none.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.here.then(|| std::env::var(name).ok()).flatten()
    }

    /// The content of a file, without white space around it.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let bytes = self.noted(path, fs::read(self.path(path)))?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A number in a file: decimal, or hexadecimal behind `0x`.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        let text = self.read(path)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// The first bytes of a file, at most `len`.
    pub(crate) fn head(&self, path: &str, len: u64) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let file = self.noted(path, fs::File::open(self.path(path)))?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let names = fs::read_dir(self.path(path)).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        });
        let mut names = self.noted(path, names).unwrap_or_default();
        names.sort();
        names
    }

    /// The last part of where a symbolic link leads.
    pub(crate) fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Where a file really is, below the root: symbolic links that lead to files are followed.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        let mut path = PathBuf::from(path);
        for _ in 0..MOST_LINKS {
            let full = self.root.join(relative(&path));
            if !fs::symlink_metadata(&full).ok()?.is_symlink() {
                return Some(relative(&path).to_string_lossy().into_owned());
            }
            let target = fs::read_link(&full).ok()?;
            path = path.parent().unwrap_or(Path::new("")).join(target);
        }
        None
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.metadata(path).is_some()
    }

    /// Whether the user may read and write a file.
    pub(crate) fn access(&self, path: &str) -> Access {
        let Some(metadata) = self.metadata(path) else {
            return Access::Missing;
        };
        let allowed = if self.here {
            // The kernel knows more than the mode says: access lists, security modules, mounts.
            access(self.path(path), Wanted::READ_OK | Wanted::WRITE_OK).is_ok()
        } else {
            let (mode, owner, group) = (metadata.mode(), metadata.uid(), metadata.gid());
            self.user.may_read_and_write(mode, owner, group)
        };
        if allowed {
            Access::Usable
        } else {
            Access::Denied
        }
    }

    /// What this user was not allowed to read.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        self.unreadable.borrow().iter().cloned().collect()
    }

    fn metadata(&self, path: &str) -> Option<Metadata> {
        fs::metadata(self.path(path)).ok()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(relative(Path::new(path)))
    }

    fn noted<T>(&self, path: &str, result: io::Result<T>) -> Option<T> {
        if let Err(error) = &result
            && error.kind() == ErrorKind::PermissionDenied
        {
            self.unreadable.borrow_mut().insert(format!("/{path}"));
        }
        result.ok()
    }
}

/// The path below a root, which `..` does not leave.
fn relative(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    parts
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("usr/lib")).unwrap();
        fs::write(path("usr/lib/libx.so.1.2.3"), "x").unwrap();
        symlink("libx.so.1.2.3", path("usr/lib/libx.so.1")).unwrap();
        symlink("/usr/lib/libx.so.1", path("usr/absolute")).unwrap();
        symlink("../../../../lib/libx.so.1", path("usr/lib/up")).unwrap();
        symlink("round", path("usr/round")).unwrap();
        let host = Host::at(root.path());
        for link in ["usr/lib/libx.so.1", "/usr/absolute"] {
            let want = Some("usr/lib/libx.so.1.2.3".to_owned());
            assert_eq!(host.resolve(link), want, "{link}");
        }
        assert_eq!(host.resolve("usr/lib/up"), None);
        assert_eq!(host.resolve("usr/round"), None);
        assert_eq!(host.resolve("usr/nothing"), None);
        assert_eq!(host.access("usr/nothing"), Access::Missing);
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let root = tempfile::tempdir().unwrap();
        for (text, number) in [("12\n", Some(12)), ("0x4940\n", Some(0x4940)), ("-1", None)] {
            fs::write(root.path().join("file"), text).unwrap();
            assert_eq!(Host::at(root.path()).number("file"), number);
        }
    }
}
