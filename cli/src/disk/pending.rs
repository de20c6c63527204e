// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Files and folders that appear under their names when they are complete, and only then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::create::Kind;
use super::lock::{self, Lock};
use super::naming::{self, PARTIAL, with_suffix};
use super::{left_behind, sync};
use crate::show::output;

/// A file or folder that is called `TARGET.partial` until it is complete.
///
/// Its lock tells other processes that somebody writes to it. Unless it is [committed](Self::commit), it is
/// removed on drop.
#[derive(Debug)]
pub(crate) struct Pending {
    target: PathBuf,
    /// Where it is now: under its first name, or its last.
    path: PathBuf,
    handle: File,
    kind: Kind,
    committed: bool,
}

impl Pending {
    /// Makes the file `TARGET.partial`, or replaces one that a process has left behind that is no more.
    pub(crate) fn file(target: &Path) -> anyhow::Result<Self> {
        Self::create(target, Kind::File, |_| Ok(()))
    }

    /// Makes the folder `TARGET.partial`, or replaces one that a process has left behind that is no more.
    /// `may_go` looks at what is in that one, and refuses what is not to be removed.
    pub(crate) fn folder(
        target: &Path,
        may_go: impl Fn(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        Self::create(target, Kind::Folder, may_go)
    }

    fn create(
        target: &Path,
        kind: Kind,
        may_go: impl Fn(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let path = with_suffix(target, PARTIAL);
        let shown = path.display();
        let pending = || -> anyhow::Result<Self> {
            if path.symlink_metadata().is_ok() {
                left_behind::remove(&path, kind, may_go)?;
            }
            let pending = Self {
                target: target.into(),
                handle: kind.create(&path)?,
                path: path.clone(),
                kind,
                committed: false,
            };
            let lost = || lock::is_at(&pending.handle, &path).map(|same| !same);
            if Lock::attempt(&pending.handle)? == Lock::Busy || lost()? {
                bail!("{}", left_behind::BUSY);
            }
            Ok(pending)
        };
        pending().with_context(|| format!("destination: cannot create {shown}"))
    }

    /// Where it is now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it will be.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The file, open for reading and writing, or the folder.
    pub(crate) fn handle(&self) -> &File {
        &self.handle
    }

    /// Makes sure that all of them are on the disk, and gives all of them their names, or none. From then on
    /// they stay. What is in a folder has to be on the disk already.
    ///
    /// # Errors
    /// None of them has its name. What fails later is only warned of: they are complete by then.
    pub(crate) fn commit(all: &mut [Self]) -> anyhow::Result<()> {
        for pending in &mut *all {
            pending.sync().context(pending.path.display().to_string())?;
        }
        for at in 0..all.len() {
            let (named, rest) = all.split_at_mut(at);
            let Some(next) = rest.first_mut() else { break };
            if let Err(error) = next.rename() {
                named.iter_mut().for_each(Self::remove);
                return Err(error);
            }
        }
        for pending in all {
            pending.committed = true;
            if let Err(error) = sync::parent_of(&pending.target) {
                output::message(format_args!(
                    "multifd: warning: {} is complete, but whether its name is on the disk is not known: {error}",
                    pending.target.display()
                ));
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.kind {
            Kind::File => self.handle.sync_all(),
            Kind::Folder => sync::folder(&self.handle),
        }
    }

    fn rename(&mut self) -> anyhow::Result<()> {
        let (from, to) = (&self.path, &self.target);
        if !lock::is_at(&self.handle, from).unwrap_or(false) {
            bail!("{} has been replaced meanwhile", from.display());
        }
        naming::rename(from, to)
            .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
        self.path.clone_from(&self.target);
        Ok(())
    }

    /// Removes it, unless it is another's by now. It is not removed again on drop.
    fn remove(&mut self) {
        self.committed = true;
        let path = &self.path;
        let removed = match lock::is_at(&self.handle, path) {
            Ok(true) => match self.kind {
                Kind::File => fs::remove_file(path),
                Kind::Folder => fs::remove_dir_all(path),
            },
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = path.display();
                output::message(format_args!("multifd: cannot remove {path}: {error}"));
            }
            _ => {}
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.committed {
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn create(kind: Kind, target: &Path) -> anyhow::Result<Pending> {
        match kind {
            Kind::File => Pending::file(target),
            Kind::Folder => Pending::folder(target, |_| Ok(())),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    const BOTH: [(Kind, u32); 2] = [(Kind::File, 0o600), (Kind::Folder, 0o700)];

    #[test]
    fn it_appears_when_it_is_committed() {
        for (kind, mode) in BOTH {
            let outer = tempfile::tempdir().unwrap();
            let target = outer.path().join("guest");
            drop(create(kind, &target).unwrap());
            assert_eq!(names(outer.path()), [""; 0]);
            let mut pending = create(kind, &target).unwrap();
            assert_eq!(names(outer.path()), ["guest.partial"]);
            let permissions = pending.handle().metadata().unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode);
            Pending::commit(std::slice::from_mut(&mut pending)).unwrap();
            assert_eq!(pending.path(), target);
            drop(pending);
            assert_eq!(names(outer.path()), ["guest"]);
        }
    }

    #[test]
    fn all_appear_or_none() {
        let outer = tempfile::tempdir().unwrap();
        let target = |name: &str| outer.path().join(name);
        let mut all = ["a", "b", "c"].map(|name| Pending::file(&target(name)).unwrap());
        fs::write(target("b"), "theirs").unwrap();
        let error = format!("{:#}", Pending::commit(&mut all).unwrap_err());
        assert!(error.contains("cannot rename"), "{error}");
        drop(all);
        assert_eq!(names(outer.path()), ["b"]);
        assert_eq!(fs::read(target("b")).unwrap(), b"theirs");
    }

    #[test]
    fn nothing_of_the_name_is_replaced() {
        for (kind, _) in BOTH {
            let outer = tempfile::tempdir().unwrap();
            let target = outer.path().join("guest");
            let mut pending = create(kind, &target).unwrap();
            symlink("nowhere", &target).unwrap();
            assert!(Pending::commit(std::slice::from_mut(&mut pending)).is_err());
            drop(pending);
            assert_eq!(names(outer.path()), ["guest"]);
            assert!(target.is_symlink());
        }
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        for (kind, _) in BOTH {
            let outer = tempfile::tempdir().unwrap();
            let target = outer.path().join("guest");
            // A process that is killed removes nothing, and its lock is no more.
            let mut killed = create(kind, &target).unwrap();
            killed.committed = true;
            drop(killed);
            assert_eq!(names(outer.path()), ["guest.partial"]);
            let pending = create(kind, &target).unwrap();
            // One that lives is in the way.
            let error = format!("{:#}", create(kind, &target).unwrap_err());
            assert!(error.contains("another process"), "{error}");
            assert_eq!(names(outer.path()), ["guest.partial"]);
            drop(pending);
            assert_eq!(names(outer.path()), [""; 0]);
        }
    }

    #[test]
    fn what_is_another_s_by_now_stays() {
        let outer = tempfile::tempdir().unwrap();
        let target = outer.path().join("guest");
        let pending = Pending::file(&target).unwrap();
        fs::remove_file(pending.path()).unwrap();
        fs::write(pending.path(), "theirs").unwrap();
        drop(pending);
        assert_eq!(names(outer.path()), ["guest.partial"]);
    }

    #[test]
    fn there_must_be_a_folder_to_put_it_in() {
        for (kind, _) in BOTH {
            let error = create(kind, Path::new("/no such folder/guest")).unwrap_err();
            let error = format!("{error:#}");
            assert!(
                error.contains("/no such folder/guest.partial: No such file"),
                "{error}"
            );
        }
    }
}
