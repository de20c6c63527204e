// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A file of the folder.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};

use crate::doctor::finding::{Finding, Problem};

/// A file, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Missing,
    /// It is there, and this user gets nothing out of it.
    Unreadable(Problem),
    Bytes {
        bytes: Vec<u8>,
        /// Who may do what with it.
        mode: u32,
    },
}

impl File {
    pub(crate) fn read(dir: &Path, name: &'static str) -> Self {
        let content = match read(&dir.join(name)) {
            Ok((bytes, mode)) => Content::Bytes { bytes, mode },
            Err(error) => Content::of_error(&error),
        };
        Self { name, content }
    }

    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.content, Content::Missing)
    }

    /// All things of one kind that are in it, at least one; `None` if there is no such file. `what` is the kind's name in PEM.
    pub(crate) fn all<T: PemObject>(&self, what: &str) -> Option<Result<Vec<T>, Problem>> {
        let bytes = match &self.content {
            Content::Missing => return None,
            Content::Unreadable(problem) => return Some(Err(problem.clone())),
            Content::Bytes { bytes, .. } => bytes,
        };
        let found: Result<Vec<T>, Error> = T::pem_slice_iter(bytes).collect();
        let advice = format!("put it there as PEM: \"-----BEGIN {what}-----\"");
        Some(match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) | Err(Error::NoItemsFound) => {
                Err(Problem::new(format!("there is no {what} in it"), advice))
            }
            Err(error) => Err(Problem::new(format!("not a PEM file: {error}"), advice)),
        })
    }

    /// What others on this host may do with it and should not.
    pub(crate) fn exposed(&self) -> Option<Finding> {
        let Self { name, content } = self;
        let Content::Bytes { mode, .. } = content else {
            return None;
        };
        let is_key = name.ends_with("-key.pem");
        let problem = match mode {
            mode if mode & OTHERS_WRITE != 0 => Problem::new(
                "everybody on this host may put something else there",
                format!("chmod o-w {name}, and look at what is in it"),
            ),
            mode if is_key && mode & OTHERS_READ != 0 => Problem::new(
                "everybody on this host may read it",
                format!("chmod o-r {name}; where others have been on this host, take a new key"),
            ),
            _ => return None,
        };
        Some(Finding::unusable(format!("{name} mode"), &problem))
    }
}

impl Content {
    fn of_error(error: &io::Error) -> Self {
        Self::Unreadable(match error.kind() {
            ErrorKind::NotFound => return Self::Missing,
            ErrorKind::PermissionDenied => Problem::new(
                "this user may not read it",
                "give it to the user that migrates; ask again as that user",
            ),
            _ => Problem::new(
                format!("it cannot be read: {error}"),
                "put a PEM file in its place",
            ),
        })
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    // To open a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = fs::File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("it has more than 64 MiB"));
    }
    Ok((bytes, mode))
}

/// Lists of what is revoked can be long.
const MOST_BYTES: u64 = 64 << 20;
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_apart_from_what_is_missing() {
        let denied = Content::of_error(&ErrorKind::PermissionDenied.into());
        let Content::Unreadable(problem) = denied else {
            panic!("{denied:?}");
        };
        assert!(problem.what.contains("may not read"), "{problem:?}");
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("ca-cert.pem")).unwrap();
        let file = File::read(folder.path(), "ca-cert.pem");
        let Content::Unreadable(problem) = file.content else {
            panic!("{file:?}");
        };
        assert!(problem.what.contains("not a file"), "{problem:?}");
        assert!(!File::read(folder.path(), "ca-crl.pem").is_there());
    }

    #[test]
    fn a_group_may_read_a_key_and_others_may_not() {
        let exposed = |name, mode| {
            let bytes = Vec::new();
            let content = Content::Bytes { bytes, mode };
            File { name, content }.exposed().is_some()
        };
        assert!(!exposed("server-key.pem", 0o100_640));
        assert!(exposed("server-key.pem", 0o100_644));
        assert!(!exposed("server-cert.pem", 0o100_644));
        assert!(exposed("ca-cert.pem", 0o100_666));
    }
}
