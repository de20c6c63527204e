// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that are whole here, but that their source has not released: a mark says so, until somebody
//! has made sure that the guest does not run there.
//!
//! The mark of a folder is a file in it, that of a file has its name with `.unreleased` behind it. It is put there
//! before anything has its last name, and goes when the source has released the guest: so it is there, too, if this
//! process is killed between the two.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::create::new_file;
use super::left_behind;
use super::lock::{self, Lock};
use super::naming::{self, PARTIAL, with_suffix};
use super::saved::{RAM, Saved, UNRELEASED, check_names};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::whereabouts::Whereabouts;

/// Marks the file that will be called `target`, or the folder that is called `target` now. Nothing is replaced.
pub(crate) fn mark(target: &Path) -> anyhow::Result<()> {
    let path = mark_of(target);
    let mut file = new_file(&path).with_context(|| format!("cannot create {}", path.display()))?;
    // That it is there is what counts: on hugetlbfs nothing can be written to it.
    let written = file
        .write_all(TEXT.as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        log::debug!("{} stays empty: {error}", path.display());
    }
    Ok(())
}

/// Takes away a mark that this process has put there: the guest is this side's.
pub(crate) fn unmark(target: &Path) -> anyhow::Result<()> {
    let path = mark_of(target);
    // After a crash it may be there again, which is the safe side.
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Whether a file or folder, or what a link leads to, is a guest that its source has not released.
pub(crate) fn is_marked(target: &Path) -> bool {
    let target = target.canonicalize().unwrap_or_else(|_| target.into());
    mark_of(&target).symlink_metadata().is_ok()
}

/// Refuses a guest that its source has not released; `side` says who does.
pub(crate) fn refuse(side: &str, target: &Path) -> Result<(), Failure> {
    if !is_marked(target) {
        return Ok(());
    }
    let path = target.display();
    let what = format!("{side}: {path} is kept, but its source has not released it");
    let hint = format!(
        "find out whether the guest runs where it came from, then: multifd release {path}, or multifd drop {path}"
    );
    let mut failure = Failure::new(ExitCode::Kept, what).hint(hint);
    failure.guest = Some(Whereabouts::Kept);
    Err(failure)
}

/// The name of the mark of a file that is to be called `target`, where nothing may be yet.
pub(crate) fn check_free(target: &Path) -> Result<PathBuf, Failure> {
    let path = with_suffix(target, SUFFIX);
    if path.symlink_metadata().is_ok() {
        let what = format!("destination: {} already exists", path.display());
        return Err(Failure::usage(what).hint("remove it or choose another file"));
    }
    Ok(path)
}

/// Takes the mark away from a guest that somebody has decided about.
pub(crate) fn release(target: &Path) -> anyhow::Result<()> {
    let kept = Kept::open(target)?;
    match kept.is_folder {
        // Whatever is called so: only a guest is released.
        true => drop(Saved::open(&kept.path)?),
        false => ensure!(kept.file.metadata()?.is_file(), "{}", kept.no_guest()),
    }
    unmark(&kept.path)
}

/// Removes a guest that its source has not released.
pub(crate) fn drop_kept(target: &Path) -> anyhow::Result<()> {
    let kept = match Kept::open(target) {
        Ok(kept) => kept,
        Err(error) => return drop_lone_mark(target).map_err(|_| error),
    };
    let (path, shown) = (&kept.path, kept.path.display());
    if !kept.is_folder {
        fs::remove_file(path).with_context(|| format!("cannot remove {shown}"))?;
        return unmark(path);
    }
    check_names(path).with_context(|| shown.to_string())?;
    ensure!(path.join(RAM).is_dir(), "{}", kept.no_guest());
    // First of all it loses its name: a part of a guest never has it.
    let partial = with_suffix(path, PARTIAL);
    naming::rename(path, &partial).with_context(|| {
        let partial = partial.display();
        format!("cannot rename {shown} to {partial}: remove that first if it is there")
    })?;
    fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))
}

/// A mark whose file is gone, or never had its name.
fn drop_lone_mark(target: &Path) -> anyhow::Result<()> {
    let mark = with_suffix(target, SUFFIX);
    let is_lone = target.symlink_metadata().is_err() && is_file(&mark);
    ensure!(is_lone, "{} is not a mark by itself", mark.display());
    Ok(fs::remove_file(mark)?)
}

/// A guest that waits for its release, which nobody receives into any more.
struct Kept {
    path: PathBuf,
    file: File,
    is_folder: bool,
}

impl Kept {
    fn open(target: &Path) -> anyhow::Result<Self> {
        // Without a slash at its end.
        let path: PathBuf = target.components().collect();
        let shown = path.display();
        let file = lock::open(&path);
        let file = file.with_context(|| format!("cannot open {shown}"))?;
        let kept = Self {
            is_folder: file.metadata()?.is_dir(),
            file,
            path: path.clone(),
        };
        ensure!(path.file_name().is_some(), "{}", kept.no_guest());
        ensure!(is_file(&mark_of(&path)), "{}", kept.no_guest());
        if Lock::attempt(&kept.file)? == Lock::Busy || !lock::is_at(&kept.file, &path)? {
            bail!("{shown}: {}", left_behind::BUSY);
        }
        Ok(kept)
    }

    fn no_guest(&self) -> String {
        format!(
            "{} is not a guest waiting to be released",
            self.path.display()
        )
    }
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|entry| entry.is_file())
}

/// Where the mark of a file or folder is.
fn mark_of(target: &Path) -> PathBuf {
    match target.is_dir() {
        true => target.join(UNRELEASED),
        false => with_suffix(target, SUFFIX),
    }
}

const SUFFIX: &str = ".unreleased";
const TEXT: &str = "\
This is a guest that its source has not released: it has not said that it has given it up.
Find out whether it runs there. If not: `multifd release PATH`. If it does: `multifd drop PATH` throws this copy away.
";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn file(outer: &Path) -> PathBuf {
        let file = outer.join("ram");
        fs::write(&file, "memory").unwrap();
        file
    }

    /// As much of a guest as is needed to drop it.
    fn folder(outer: &Path) -> PathBuf {
        let folder = outer.join("guest");
        fs::create_dir_all(folder.join(RAM)).unwrap();
        fs::write(folder.join("manifest.json"), "{}").unwrap();
        folder
    }

    #[test]
    fn a_marked_guest_waits_for_its_release() {
        let outer = tempfile::tempdir().unwrap();
        let guest = file(outer.path());
        assert!(refuse("source", &guest).is_ok());
        assert!(release(&guest).is_err());
        mark(&guest).unwrap();
        assert_eq!(refuse("source", &guest).unwrap_err().code, ExitCode::Kept);
        // A link does not lead around it, and is no guest itself.
        let link = outer.path().join("link");
        symlink(&guest, &link).unwrap();
        assert!(refuse("source", &link).is_err());
        assert!(release(&link).is_err());
        assert!(drop_kept(&link).is_err());
        release(&guest).unwrap();
        assert!(refuse("source", &guest).is_ok());
    }

    #[test]
    fn only_a_marked_guest_is_dropped() {
        let outer = tempfile::tempdir().unwrap();
        for guest in [file(outer.path()), folder(outer.path()).join("")] {
            assert!(drop_kept(&guest).is_err());
            assert!(guest.exists());
            mark(&guest).unwrap();
            drop_kept(&guest).unwrap();
        }
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_receives_into_it_decides() {
        let outer = tempfile::tempdir().unwrap();
        for guest in [file(outer.path()), folder(outer.path())] {
            mark(&guest).unwrap();
            let receiving = File::open(&guest).unwrap();
            assert_eq!(Lock::attempt(&receiving).unwrap(), Lock::Held);
            for act in [release, drop_kept] {
                let error = act(&guest).unwrap_err().to_string();
                assert!(error.contains(left_behind::BUSY), "{error}");
            }
            assert!(guest.exists());
        }
    }

    #[test]
    fn what_is_no_guest_stays() {
        let outer = tempfile::tempdir().unwrap();
        let notes = outer.path().join("notes");
        fs::create_dir(&notes).unwrap();
        fs::write(notes.join(UNRELEASED), "mine").unwrap();
        assert!(release(&notes).is_err());
        assert!(drop_kept(&notes).is_err());
        assert!(notes.join(UNRELEASED).exists());
        for inside in ["letters", "ram/letters"] {
            let outer = tempfile::tempdir().unwrap();
            let guest = folder(outer.path());
            mark(&guest).unwrap();
            fs::create_dir_all(guest.join(inside)).unwrap();
            let error = format!("{:#}", drop_kept(&guest).unwrap_err());
            assert!(error.contains("letters"), "{error}");
            assert!(guest.join(inside).exists());
        }
    }

    #[test]
    fn a_mark_replaces_nothing_and_can_go_alone() {
        let outer = tempfile::tempdir().unwrap();
        let target = outer.path().join("ram");
        let mark_path = check_free(&target).unwrap();
        fs::write(&mark_path, "precious").unwrap();
        assert!(check_free(&target).is_err());
        assert!(mark(&target).is_err());
        assert_eq!(fs::read(&mark_path).unwrap(), b"precious");
        assert!(release(&target).is_err());
        drop_kept(&target).unwrap();
        assert!(!mark_path.exists());
    }
}
