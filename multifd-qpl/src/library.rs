// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! libqpl, loaded at run time.

#![allow(
    unsafe_code,
    reason = "a C library is loaded, and its functions are given their types"
)]

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use vendor_library::{LoadError, VendorLibrary};

use crate::abi::{GetJobSize, GetVersion, InitJob, OnJob};

/// The functions of a libqpl, which stays loaded to the end of the process.
pub(crate) struct Library {
    pub(crate) functions: Functions,
    version: String,
}

/// libqpl with a device that works.
#[derive(Clone)]
pub(crate) struct Hardware {
    pub(crate) library: Arc<Library>,
    /// Whether the device has to do every page.
    pub(crate) must: bool,
}

/// What is called of it, as the headers declare it.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) get_job_size: GetJobSize,
    pub(crate) init_job: InitJob,
    pub(crate) execute_job: OnJob,
    pub(crate) submit_job: OnJob,
    pub(crate) check_job: OnJob,
    pub(crate) fini_job: OnJob,
}

impl Library {
    /// Loads the library of this path, or of this name in the system's folders.
    ///
    /// # Errors
    /// It cannot be loaded, is no libqpl, or is one of a version that is not known: what was found.
    pub(crate) fn load(path: &str) -> Result<Self, String> {
        // SAFETY: the constructors of libqpl find out about the processor, and touch nothing of this process but
        // the library's own memory. That the file is a libqpl is the word of the host, who installed it
        // or named it.
        let library = unsafe { VendorLibrary::load(path) }.map_err(|error| error.to_string())?;
        let version = version(&library)?;
        if !is_supported(&version) {
            return Err(format!(
                "{path} is libqpl {version}, wanted {OLDEST} or a later 1.x"
            ));
        }
        let functions = functions(&library).map_err(|error| error.to_string())?;
        Ok(Self { functions, version })
    }

    /// These functions as a library.
    #[cfg(test)]
    pub(crate) fn stand_in(functions: Functions) -> Self {
        Self {
            functions,
            version: "1.9.0".to_owned(),
        }
    }
}

impl Library {
    /// As the library tells it.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether a job can be given to the devices of any node: from 1.6 on.
    pub(crate) fn has_any_node(&self) -> bool {
        minor(&self.version).is_some_and(|minor| minor >= 6)
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "libqpl {}", self.version)
    }
}

fn functions(library: &VendorLibrary) -> Result<Functions, LoadError> {
    // SAFETY: the types are those of the headers of the versions that were let through.
    unsafe {
        Ok(Functions {
            get_job_size: library.function(c"qpl_get_job_size")?,
            init_job: library.function(c"qpl_init_job")?,
            execute_job: library.function(c"qpl_execute_job")?,
            submit_job: library.function(c"qpl_submit_job")?,
            check_job: library.function(c"qpl_check_job")?,
            fini_job: library.function(c"qpl_fini_job")?,
        })
    }
}

fn version(library: &VendorLibrary) -> Result<String, String> {
    // SAFETY: this function has had this type in every version.
    let function = unsafe { library.function::<GetVersion>(c"qpl_get_library_version") };
    // SAFETY: it has no precondition.
    let text = unsafe { function.map_err(|error| error.to_string())?() };
    if text.is_null() {
        return Err("libqpl without a version".to_owned());
    }
    // SAFETY: a constant of the library, which ends in 0, and stays loaded.
    let text = unsafe { CStr::from_ptr(text) };
    Ok(text.to_string_lossy().into_owned())
}

/// The release that QEMU asks for, too.
const OLDEST: &str = "1.5";

/// Whether the version's `qpl_job` is the one of `abi.rs`.
fn is_supported(version: &str) -> bool {
    minor(version).is_some_and(|minor| minor >= 5)
}

/// The second number of a version that starts with 1.
fn minor(version: &str) -> Option<u32> {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => Some(minor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.5.0", "1.9.0", "1.10.1", "1.5"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["1.4.0", "2.0.0", "0.9", "1", "", "1.x", "v1.9.0"] {
            assert!(!is_supported(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_no_libqpl_is_refused() {
        let missing = Library::load("libqpl-of-nowhere.so.1").err().unwrap();
        assert!(missing.contains("libqpl-of-nowhere.so.1"), "{missing}");
        let other = Library::load("libc.so.6").err().unwrap();
        assert!(other.contains("qpl_get_library_version"), "{other}");
    }
}
