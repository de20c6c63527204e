// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! UADK's library, loaded at run time.

#![allow(
    unsafe_code,
    reason = "a C library is loaded, and its functions are given their types"
)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vendor_library::{LoadError, VendorLibrary};

use crate::abi::{AllocSession, DoAsync, DoSync, FreeSession, Init2, Poll, Uninit2};

/// What is called of the library, as its headers declare it. It stays loaded to the end of the process,
/// so these are always good.
#[derive(Clone)]
pub(crate) struct Functions {
    /// The file that they are in.
    pub(crate) file: Arc<str>,
    pub(crate) init: Init2,
    pub(crate) uninit: Uninit2,
    pub(crate) alloc: AllocSession,
    pub(crate) free: FreeSession,
    pub(crate) sync: DoSync,
    pub(crate) queue: DoAsync,
    pub(crate) poll: Poll,
}

impl Functions {
    /// Loads the library at `location`: a folder, a file, or `None` for the system's folders.
    ///
    /// # Errors
    /// It cannot be loaded, or it is no UADK of 2.4 or later.
    pub(crate) fn load(location: Option<&Path>) -> Result<Self, Missing> {
        let (folder, file) = match location {
            Some(folder) if folder.is_dir() => (Some(folder), folder.join(LIBRARY)),
            Some(file) => (file.parent(), file.to_owned()),
            None => (None, PathBuf::from(LIBRARY)),
        };
        // Outside of the system's folders the loader does not find what the library itself needs, but
        // takes what is loaded already.
        let base = folder.map(|folder| folder.join(BASE));
        if let Some(base) = base.filter(|base| base.is_file()) {
            load(&base)?;
        }
        let library = load(&file)?;
        // SAFETY: the types are those of the headers, which have not changed since these names exist.
        let functions = unsafe {
            Self {
                file: library.file(c"wd_comp_init2_").into(),
                init: library.function(c"wd_comp_init2_")?,
                uninit: library.function(c"wd_comp_uninit2")?,
                alloc: library.function(c"wd_comp_alloc_sess")?,
                free: library.function(c"wd_comp_free_sess")?,
                sync: library.function(c"wd_do_comp_sync")?,
                queue: library.function(c"wd_do_comp_async")?,
                poll: library.function(c"wd_comp_poll")?,
            }
        };
        Ok(functions)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIBRARY)
    }
}

fn load(path: &Path) -> Result<VendorLibrary, Missing> {
    // SAFETY: UADK's constructors register their drivers with the library itself and touch nothing else of the
    // process. That the file is UADK's is the word of the host, who installed it or named it.
    unsafe { VendorLibrary::load(path) }.map_err(|error| Missing::Library {
        library: path.to_owned(),
        error: error.to_string(),
    })
}

/// What is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("{} cannot be loaded", library.display())]
    Library { library: PathBuf, error: String },
    #[error(transparent)]
    Function(#[from] LoadError),
}

/// The library with the functions for compression.
pub(crate) const LIBRARY: &str = "libwd_comp.so.2";
/// The library that it is built upon.
const BASE: &str = "libwd.so.2";

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(location: &Path) -> Missing {
        Functions::load(Some(location)).err().unwrap()
    }

    #[test]
    fn what_cannot_be_loaded_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let want = format!(
            "{}/libwd_comp.so.2 cannot be loaded",
            folder.path().display()
        );
        assert_eq!(missing(folder.path()).to_string(), want);
        let file = folder.path().join("libwd_comp.so.2");
        std::fs::write(&file, "no library").unwrap();
        let Missing::Library { error, .. } = missing(&file) else {
            panic!("a text file was loaded");
        };
        assert!(error.contains("libwd_comp.so.2"), "{error}");
        let other = missing(Path::new("libc.so.6")).to_string();
        assert_eq!(other, "libc.so.6 has no function wd_comp_init2_");
    }
}
