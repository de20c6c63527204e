//! The folder while it is being written, and files that are on the disk when they are there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::{DEVICES, MANIFEST, PACKETS, RAM};

/// The folder under its first name, and the lock that says that somebody writes to it.
pub(super) struct Partial {
    pub(super) path: PathBuf,
    pub(super) folder: File,
}

impl Partial {
    /// Makes the folder `TARGET.partial`. One that a process has left behind that was killed is removed:
    /// nobody holds its lock any more.
    pub(super) fn create(target: &Path) -> anyhow::Result<Self> {
        let mut path = target.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let context = || format!("cannot create {}", path.display());
        if path.symlink_metadata().is_ok() {
            remove_left_behind(&path).with_context(context)?;
        }
        new_folder(&path)?;
        let folder = File::open(&path).with_context(context)?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive).with_context(context)?;
        Ok(Self { path, folder })
    }
}

fn remove_left_behind(path: &Path) -> anyhow::Result<()> {
    let folder = File::open(path)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => bail!("another process is receiving into it"),
        result => result?,
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let ours = [RAM, DEVICES, PACKETS, MANIFEST]
            .iter()
            .any(|ours| name == *ours);
        ensure!(
            ours,
            "it is there already, with {} in it: remove it",
            name.display()
        );
    }
    log::info!("removing {}, which was left behind", path.display());
    Ok(fs::remove_dir_all(path)?)
}

pub(super) fn new_file(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.mode(0o600).open(path);
    file.with_context(|| format!("cannot create {}", path.display()))
}

pub(super) fn new_folder(path: &Path) -> anyhow::Result<()> {
    let folder = DirBuilder::new().mode(0o700).create(path);
    folder.with_context(|| format!("cannot create {}", path.display()))
}

pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = new_file(path)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Gives the folder its name, unless somebody else has taken it meanwhile.
pub(super) fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let result = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do that. An empty folder of this name would be replaced then.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        result => result.map_err(Into::into),
    };
    result.with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}
