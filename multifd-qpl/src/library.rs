//! libqpl, loaded at run time.

#![allow(
    unsafe_code,
    reason = "a C library is loaded, and its functions are given their types"
)]

use std::ffi::CStr;
use std::fmt;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::abi::{GetJobSize, GetVersion, InitJob, OnJob};

/// The functions of a libqpl. As long as this lives, it stays loaded.
pub(crate) struct Library {
    pub(crate) functions: Functions,
    version: String,
    /// `None` for the stand-in of the tests.
    _handle: Option<Handle>,
}

/// What is called of it, as the headers declare it.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) get_job_size: GetJobSize,
    pub(crate) init_job: InitJob,
    pub(crate) execute_job: OnJob,
    pub(crate) submit_job: OnJob,
    pub(crate) wait_job: OnJob,
    pub(crate) fini_job: OnJob,
}

impl Library {
    /// Loads the library of this path, or of this name in the system's folders.
    ///
    /// # Errors
    /// It cannot be loaded, is no libqpl, or is one of a version that is not known: what was found.
    pub(crate) fn load(path: &str) -> Result<Self, String> {
        // SAFETY: loading runs the library's constructors. Those of libqpl find out about the processor,
        // and touch nothing of this process but the library's own memory. That the file is a libqpl
        // is the word of the host, who installed it or named it.
        let handle = unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| error.to_string())?;
        let version = version(&handle)?;
        if !is_supported(&version) {
            return Err(format!(
                "{path} is libqpl {version}, wanted {OLDEST} or a later 1.x"
            ));
        }
        // SAFETY: the types are those of the headers of the versions that were let through.
        let functions = unsafe {
            Functions {
                get_job_size: symbol::<GetJobSize>(&handle, c"qpl_get_job_size")?,
                init_job: symbol::<InitJob>(&handle, c"qpl_init_job")?,
                execute_job: symbol::<OnJob>(&handle, c"qpl_execute_job")?,
                submit_job: symbol::<OnJob>(&handle, c"qpl_submit_job")?,
                wait_job: symbol::<OnJob>(&handle, c"qpl_wait_job")?,
                fini_job: symbol::<OnJob>(&handle, c"qpl_fini_job")?,
            }
        };
        Ok(Self {
            functions,
            version,
            _handle: Some(handle),
        })
    }

    /// These functions as a library.
    #[cfg(test)]
    pub(crate) fn stand_in(functions: Functions) -> Self {
        Self {
            functions,
            version: "1.9.0".to_owned(),
            _handle: None,
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "libqpl {}", self.version)
    }
}

fn version(handle: &Handle) -> Result<String, String> {
    // SAFETY: this function has had this type in every version.
    let function = unsafe { symbol::<GetVersion>(handle, c"qpl_get_library_version") }?;
    // SAFETY: it has no precondition.
    let text = unsafe { function() };
    if text.is_null() {
        return Err("libqpl without a version".to_owned());
    }
    // SAFETY: a constant of the library, which ends in 0 and is copied while the library is loaded.
    let text = unsafe { CStr::from_ptr(text) };
    Ok(text.to_string_lossy().into_owned())
}

/// # Safety
/// `T` is the type of the function pointer to the symbol, which is called only while the library is
/// loaded.
unsafe fn symbol<T: Copy>(handle: &Handle, name: &CStr) -> Result<T, String> {
    // SAFETY: the caller vouches for the type.
    let symbol = unsafe { handle.get::<T>(name.to_bytes_with_nul()) };
    symbol
        .map(|symbol| *symbol)
        .map_err(|error| error.to_string())
}

/// The release that QEMU asks for, too.
const OLDEST: &str = "1.5";

/// Whether the version's `qpl_job` is the one of `abi.rs`.
fn is_supported(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(1)), Some(Ok(minor))) if minor >= 5)
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
