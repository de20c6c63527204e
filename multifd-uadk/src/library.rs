//! UADK's library, loaded at run time.

#![allow(
    unsafe_code,
    reason = "a C library is loaded, and its functions are given their types"
)]

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::abi::{AllocSession, DoSync, FreeSession, Init2, Uninit2};

/// What is called of the library, as its headers declare it. It stays loaded to the end of the process,
/// so these are always good.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) init: Init2,
    pub(crate) uninit: Uninit2,
    pub(crate) alloc: AllocSession,
    pub(crate) free: FreeSession,
    pub(crate) sync: DoSync,
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
            std::mem::forget(open(&base)?);
        }
        let library = open(&file)?;
        // SAFETY: the types are those of the headers, which have not changed since these names exist.
        let functions = unsafe {
            Self {
                init: function::<Init2>(&library, "wd_comp_init2_")?,
                uninit: function::<Uninit2>(&library, "wd_comp_uninit2")?,
                alloc: function::<AllocSession>(&library, "wd_comp_alloc_sess")?,
                free: function::<FreeSession>(&library, "wd_comp_free_sess")?,
                sync: function::<DoSync>(&library, "wd_do_comp_sync")?,
            }
        };
        // It leaves functions with the process, for the case of a fork, which have to stay.
        std::mem::forget(library);
        Ok(functions)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LIBRARY)
    }
}

fn open(path: &Path) -> Result<Library, Missing> {
    // SAFETY: loading runs the library's constructors. UADK's register their drivers with the library
    // itself and touch nothing else of the process. That the file is UADK's is the word of the
    // host, who installed it or named it.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| Missing::Library {
        library: path.to_owned(),
        // The loader's own words are the cause of the error.
        error: error.source().unwrap_or(&error).to_string(),
    })
}

/// # Safety
/// `F` is the type of a pointer to the function of this name.
unsafe fn function<F: Copy>(library: &Library, name: &'static str) -> Result<F, Missing> {
    // SAFETY: the caller vouches for the type.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    symbol
        .map(|symbol| *symbol)
        .map_err(|_| Missing::Function { name })
}

/// What is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("{} cannot be loaded", library.display())]
    Library { library: PathBuf, error: String },
    #[error("{LIBRARY} has no {name}")]
    Function { name: &'static str },
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
        assert_eq!(other, "libwd_comp.so.2 has no wd_comp_init2_");
    }
}
