// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One file for each thing: two that share one would overwrite each other.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::sync::parent;
use crate::show::failure::Failure;

/// Refuses options of which two name one file, by whatever path or link. Each is an option and its file.
pub(crate) fn check(files: &[(String, &Path)]) -> Result<(), Failure> {
    for (at, (option, path)) in files.iter().enumerate() {
        let Some(identity) = Identity::of(path) else {
            continue;
        };
        let mut rest = files.iter().skip(at + 1);
        if let Some((other, _)) =
            rest.find(|(_, path)| Identity::of(path) == Some(identity.clone()))
        {
            let path = path.display();
            let what = format!("{option} and {other} are the same file, {path}");
            return Err(Failure::usage(what).hint("give each a file of its own"));
        }
    }
    Ok(())
}

/// What makes a file the same as another.
#[derive(Clone, PartialEq, Eq)]
enum Identity {
    /// One that is there: its file system and number.
    There(u64, u64),
    /// One that can be created: its folder's, and its name.
    New(u64, u64, OsString),
}

impl Identity {
    /// `None` if nothing can be there: whoever opens it says why.
    fn of(path: &Path) -> Option<Self> {
        if let Ok(file) = path.metadata() {
            return Some(Self::There(file.dev(), file.ino()));
        }
        let folder = parent(path).metadata().ok()?;
        Some(Self::New(
            folder.dev(),
            folder.ino(),
            path.file_name()?.into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_is_one_file_by_whatever_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "").unwrap();
        fs::write(path("b"), "").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        symlink("a", path("soft")).unwrap();
        symlink(".", path("here")).unwrap();
        for (one, other, same) in [
            ("a", "a", true),
            ("a", "hard", true),
            ("a", "soft", true),
            ("a", "here/a", true),
            ("a", "b", false),
            ("new", "new", true),
            ("new", "here/new", true),
            ("new", "other", false),
            ("new", "a", false),
            ("missing/a", "missing/a", false),
        ] {
            let (one, other) = (path(one), path(other));
            let files = [("--ram x".into(), &*one), ("--devices".into(), &*other)];
            let refused = check(&files).err().map(|failure| failure.what);
            assert_eq!(refused.is_some(), same, "{one:?} {other:?}");
            if let Some(what) = refused {
                assert!(
                    what.contains("--ram x and --devices are the same file"),
                    "{what}"
                );
            }
        }
    }
}
