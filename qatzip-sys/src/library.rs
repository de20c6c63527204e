// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The library: found, loaded, looked at.

#![allow(
    unsafe_code,
    reason = "loads a library and names the types of its functions"
)]

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use vendor_library::VendorLibrary;

use crate::bindings::{DeflateParams, Functions, LOG_NONE, ParamsRoom};
use crate::{Code, Error};

/// libqatzip, loaded. A clone is the same library.
#[derive(Clone)]
pub struct Library {
    loaded: Arc<Loaded>,
}

struct Loaded {
    functions: Functions,
    defaults: DeflateParams,
    file: String,
}

impl Library {
    /// What is loaded if nobody names a file: the soname that releases 1.1 to 2.0 have.
    pub const NAME: &str = "libqatzip.so.3";

    /// Loads [`Self::NAME`] from where the system's loader looks for libraries.
    ///
    /// # Errors
    /// It is not there, needs another library that is not there, or is not what this crate knows.
    pub fn load() -> Result<Self, Error> {
        Self::load_from(Self::NAME)
    }

    /// Loads the library in the file `path`; a name without a slash is looked for as in
    /// [`Self::load`]. Whoever names the file answers for it: its code runs in this process.
    ///
    /// The library is told to log nothing: what it answers is in this crate's errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_from(path: impl AsRef<OsStr>) -> Result<Self, Error> {
        // SAFETY: libqatzip and the libraries that it needs set up their own state when they are loaded; that
        // the file is libqatzip is the caller's to answer for.
        let library = unsafe { VendorLibrary::load(path) }?;
        let (functions, file) = functions(&library)?;
        if let Some(set_log_level) = functions.set_log_level {
            // SAFETY: it takes any level, from any thread.
            unsafe { set_log_level(LOG_NONE) };
        }
        let defaults = defaults(&functions, &file)?;
        Ok(Self {
            loaded: Arc::new(Loaded {
                functions,
                defaults,
                file,
            }),
        })
    }

    /// The name of the file that was loaded, for instance `libqatzip.so.3.2.0`.
    pub fn file(&self) -> &str {
        &self.loaded.file
    }

    /// Whether it loses one of the process's 1024 thread keys with each call that it does without a device: it
    /// looks for one each time, and makes a key to do so. That came with the interface for asynchronous calls,
    /// in libqatzip 1.3.0.
    pub fn loses_thread_keys(&self) -> bool {
        self.loaded.functions.is_asynchronous
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.loaded.functions
    }

    pub(crate) fn defaults(&self) -> DeflateParams {
        self.loaded.defaults
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.loaded.file).finish()
    }
}

/// Looks the functions up, and in which file they are.
fn functions(library: &VendorLibrary) -> Result<(Functions, String), Error> {
    // SAFETY: the types are those of the declarations in qatzip.h, which are the same in all releases from
    // 1.1 to 2.0.
    let functions = unsafe {
        Functions {
            init: library.function(c"qzInit")?,
            get_defaults_deflate: library.function(c"qzGetDefaultsDeflate")?,
            setup_session_deflate: library.function(c"qzSetupSessionDeflate")?,
            compress: library.function(c"qzCompress")?,
            decompress: library.function(c"qzDecompress")?,
            teardown_session: library.function(c"qzTeardownSession")?,
            close: library.function(c"qzClose")?,
            malloc: library.function(c"qzMalloc")?,
            is_asynchronous: library.has(c"qzCompress2"),
            set_log_level: library.function(c"qzSetLogLevel").ok(),
        }
    };
    Ok((functions, library.file(c"qzInit")))
}

/// Asks the library for its defaults, and so whether it lays structures out as this crate does.
fn defaults(functions: &Functions, file: &str) -> Result<DeflateParams, Error> {
    let mut room = ParamsRoom::new();
    // SAFETY: the function writes its structure of parameters, for which there is room even if it is
    // four times as long as it is known to be.
    let code = Code(unsafe { (functions.get_defaults_deflate)(room.as_mut_ptr()) });
    if code != Code::OK {
        return Err(Error::Failed {
            function: "qzGetDefaultsDeflate",
            code,
        });
    }
    room.params().map_err(|what| Error::Layout {
        file: file.to_owned(),
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let error = Library::load_from("/nonexistent/libqatzip.so.3").unwrap_err();
        assert!(matches!(error, Error::Load(_)));
        let text = error.to_string();
        assert!(text.contains("/nonexistent/libqatzip.so.3"), "{text}");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn another_library_is_not_taken_for_it() {
        let error = Library::load_from("libc.so.6").unwrap_err();
        assert_eq!(
            error.to_string(),
            "libc.so.6 has no function qzInit, wanted libqatzip 1.1 or newer"
        );
    }
}
