// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a process has left behind that was killed while it received.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{bail, ensure};

use super::create::{FILE_MODE, Kind};
use super::lock::{self, Lock};

/// Removes a file or folder that such a process has made. Nothing else is removed: no file that is not as
/// this program makes them, nothing that is in use or may be, and no folder of which `may_go` says no.
pub(super) fn remove(
    path: &Path,
    kind: Kind,
    may_go: impl Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Ok(left) = lock::open(path) else {
        bail!("it already exists and cannot be opened: remove it");
    };
    ensure!(
        is_ours(&left, kind)?,
        "it already exists, and is not a {} made by this program: remove it",
        match kind {
            Kind::File => "file",
            Kind::Folder => "folder",
        }
    );
    match Lock::attempt(&left)? {
        Lock::Held => {}
        Lock::Busy => bail!("{BUSY}"),
        Lock::Unknown => bail!(
            "it already exists, and its file system cannot tell whether another process is receiving into it: remove it if not"
        ),
    }
    may_go(path)?;
    // Whoever removes it holds the lock of what is there, not of what was.
    ensure!(lock::is_at(&left, path)?, "{BUSY}");
    log::info!("removing {}, which was left behind", path.display());
    let removed = match kind {
        Kind::File => fs::remove_file(path),
        Kind::Folder => fs::remove_dir_all(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_ours(left: &File, kind: Kind) -> io::Result<bool> {
    let left = left.metadata()?;
    Ok(match kind {
        Kind::File => left.is_file() && left.mode() & 0o777 == FILE_MODE && left.nlink() == 1,
        Kind::Folder => left.is_dir(),
    })
}

/// Why something that is in use is not touched.
pub(super) const BUSY: &str = "another process is receiving into it";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn refused(path: &Path, kind: Kind, want: &str) {
        let error = remove(path, kind, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        path.symlink_metadata().unwrap();
    }

    #[test]
    fn only_what_a_process_has_left_is_removed() {
        let outer = tempfile::tempdir().unwrap();
        let path = |name: &str| outer.path().join(name);
        let own = |name: &str, mode: u32| {
            fs::write(path(name), "text").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
            path(name)
        };
        let (left, theirs) = (own("left", 0o600), own("theirs", 0o644));
        let linked = own("linked", 0o600);
        fs::hard_link(&linked, path("second")).unwrap();
        symlink("left", path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();

        refused(&theirs, Kind::File, "not a file made by");
        refused(&linked, Kind::File, "not a file made by");
        refused(&path("folder"), Kind::File, "not a file made by");
        refused(&path("link"), Kind::File, "cannot be opened");
        refused(&left, Kind::Folder, "not a folder made by");
        let held = File::open(&left).unwrap();
        assert_eq!(Lock::attempt(&held).unwrap(), Lock::Held);
        refused(&left, Kind::File, BUSY);
        drop(held);
        remove(&left, Kind::File, |_| Ok(())).unwrap();
        assert!(!left.exists());

        let no = |_: &Path| bail!("a guest");
        assert!(remove(&path("folder"), Kind::Folder, no).is_err());
        assert!(path("folder").exists());
        remove(&path("folder"), Kind::Folder, |_| Ok(())).unwrap();
        assert!(!path("folder").exists());
    }
}
