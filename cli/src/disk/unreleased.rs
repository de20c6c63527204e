//! Guests that are whole here, but that their source has not released: a mark says so, until somebody
//! has made sure that the guest does not run there.
//!
//! The mark of a folder is a file in it, that of a file has its name with `.unreleased` behind it. It is put there
//! before anything has its last name, and goes when the source has released the guest: so it is there, too, if this
//! process is killed between the two.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::saved::{ALL, UNRELEASED};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::whereabouts::Whereabouts;

/// Marks the file that will be called `target`, or the folder that is called `target` now.
pub(crate) fn mark(target: &Path) -> anyhow::Result<()> {
    let path = mark_of(target);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    // That it is there is what counts: on hugetlbfs nothing can be written to it.
    let written = file
        .write_all(TEXT.as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        log::debug!("{} stays empty: {error}", path.display());
    }
    Ok(())
}

/// Whether a file or folder is a guest that its source has not released.
pub(crate) fn is_marked(target: &Path) -> bool {
    mark_of(target).symlink_metadata().is_ok()
}

/// Refuses a guest that its source has not released.
pub(crate) fn refuse(target: &Path) -> Result<(), Failure> {
    if !is_marked(target) {
        return Ok(());
    }
    let path = target.display();
    let what = format!("source: {path} is kept, but its source has not released it");
    let hint = format!(
        "make sure that the guest does not run where it came from, then: multifd release {path}"
    );
    let mut failure = Failure::new(ExitCode::Kept, what).hint(hint);
    failure.guest = Some(Whereabouts::Kept);
    Err(failure)
}

/// Takes the mark away: the guest is this side's.
pub(crate) fn release(target: &Path) -> anyhow::Result<()> {
    let path = mark_of(target);
    fs::remove_file(&path).with_context(|| match path.exists() {
        true => format!("cannot remove {}", path.display()),
        false => format!(
            "{} is no guest that waits for its release",
            target.display()
        ),
    })?;
    // After a crash the mark may be there again, which is the safe side.
    Ok(())
}

/// Removes a guest that its source has not released.
pub(crate) fn drop_kept(target: &Path) -> anyhow::Result<()> {
    let shown = target.display();
    ensure!(
        is_marked(target),
        "{shown} is no guest that waits for its release"
    );
    if !target.is_dir() {
        fs::remove_file(target).with_context(|| format!("cannot remove {shown}"))?;
        return release(target);
    }
    for entry in fs::read_dir(target).with_context(|| shown.to_string())? {
        let name = entry?.file_name();
        let ours = ALL.iter().any(|ours| name == *ours);
        ensure!(ours, "{shown} has {} in it: remove it", name.display());
    }
    // First of all it loses its name: a part of a guest never has it.
    let partial = with_suffix(target, ".partial");
    let renamed = rustix::fs::renameat_with(
        rustix::fs::CWD,
        target,
        rustix::fs::CWD,
        &partial,
        rustix::fs::RenameFlags::NOREPLACE,
    );
    renamed.with_context(|| format!("cannot rename {shown} to {}", partial.display()))?;
    fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))
}

/// Where the mark of a file or folder is.
fn mark_of(target: &Path) -> PathBuf {
    match target.is_dir() {
        true => target.join(UNRELEASED),
        false => with_suffix(target, ".unreleased"),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const TEXT: &str = "\
All of this guest is here, but its source has not said that it has given it up.
Make sure that it does not run there. Then run `multifd release PATH`, or `multifd drop PATH` to throw it away.
";

#[cfg(test)]
mod tests {
    use super::*;

    /// A file and a folder that hold a guest.
    fn guests(outer: &Path) -> [PathBuf; 2] {
        let (file, folder) = (outer.join("ram"), outer.join("guest"));
        fs::write(&file, "memory").unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("manifest.json"), "{}").unwrap();
        [file, folder]
    }

    #[test]
    fn a_marked_guest_waits_for_its_release() {
        let outer = tempfile::tempdir().unwrap();
        for guest in guests(outer.path()) {
            assert!(refuse(&guest).is_ok());
            assert!(release(&guest).is_err());
            mark(&guest).unwrap();
            assert_eq!(refuse(&guest).unwrap_err().code, ExitCode::Kept);
            release(&guest).unwrap();
            assert!(refuse(&guest).is_ok());
        }
    }

    #[test]
    fn only_a_marked_guest_is_dropped() {
        let outer = tempfile::tempdir().unwrap();
        for guest in guests(outer.path()) {
            assert!(drop_kept(&guest).is_err());
            assert!(guest.exists());
            mark(&guest).unwrap();
            drop_kept(&guest).unwrap();
        }
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_with_other_things_stays() {
        let outer = tempfile::tempdir().unwrap();
        let [_, folder] = guests(outer.path());
        mark(&folder).unwrap();
        fs::write(folder.join("letters"), "").unwrap();
        let error = drop_kept(&folder).unwrap_err().to_string();
        assert!(error.contains("letters"), "{error}");
        assert!(is_marked(&folder));
    }
}
