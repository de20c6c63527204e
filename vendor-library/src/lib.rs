// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
#![allow(
    unsafe_code,
    reason = "loads libraries, and names the types of their functions"
)]

#[cfg(not(target_os = "linux"))]
compile_error!("vendor-library is for Linux: /proc and the way it loads libraries are Linux's");

mod loaded_file;

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::mem::ManuallyDrop;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

/// A library that was loaded.
pub struct VendorLibrary {
    handle: ManuallyDrop<Handle>,
    /// What was asked for.
    path: String,
}

impl VendorLibrary {
    /// Loads the library in the file `path`; one without a slash is looked for where the system's loader
    /// looks for libraries. All that it needs is bound now, so that no other thread needs the loader.
    ///
    /// # Safety
    /// The initialisers of the library, and of those that it needs, run: that they may do so is the word of
    /// whoever installed or named it.
    ///
    /// # Errors
    /// It is not there, or needs another library that is not there: the loader's words.
    pub unsafe fn load(path: impl AsRef<OsStr>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        // SAFETY: the caller's word.
        let handle = unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let handle = handle.map_err(|error| LoadError::Library(error.to_string()))?;
        Ok(Self {
            handle: ManuallyDrop::new(handle),
            path: path.to_string_lossy().into_owned(),
        })
    }

    /// The function of this name.
    ///
    /// # Safety
    /// `F` is the type of a pointer to it.
    ///
    /// # Errors
    /// There is none.
    pub unsafe fn function<F: Copy>(&self, name: &'static CStr) -> Result<F, LoadError> {
        // SAFETY: the caller's word.
        let function = unsafe { self.handle.get::<F>(name.to_bytes_with_nul()) };
        function
            .map(|function| *function)
            .map_err(|_| LoadError::Function {
                library: self.path.clone(),
                name: name.to_str().unwrap_or_default(),
            })
    }

    /// Whether it has a function of this name.
    pub fn has(&self, name: &'static CStr) -> bool {
        self.address(name).is_some()
    }

    /// The name of the file that was loaded, without its folder: the file itself, and not a link to it, so
    /// that it often tells the release. `function` is one that is in it. Where there is no `/proc`, the name
    /// that was asked for.
    pub fn file(&self, function: &'static CStr) -> String {
        let file = self.address(function).and_then(loaded_file::at);
        file.unwrap_or_else(|| self.path.clone())
    }

    fn address(&self, name: &'static CStr) -> Option<usize> {
        // SAFETY: only the address is looked at.
        let function = unsafe { self.handle.get::<*const ()>(name.to_bytes_with_nul()) };
        Some(function.ok()?.as_raw_ptr() as usize)
    }
}

impl fmt::Debug for VendorLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VendorLibrary").field(&self.path).finish()
    }
}

/// Why a library cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The system's loader does not load it; it says why.
    #[error("{0}")]
    Library(String),
    /// A function is missing.
    #[error("{library} has no function {name}")]
    Function {
        /// The library, as it was asked for.
        library: String,
        /// The function's name.
        name: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        // SAFETY: there is no such library.
        let error = unsafe { VendorLibrary::load("/nonexistent/libvendor.so.1") }.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nonexistent/libvendor.so.1"), "{text}");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn functions_are_found_or_named() {
        // SAFETY: the C library is loaded already.
        let library = unsafe { VendorLibrary::load("libc.so.6") }.unwrap();
        assert!(library.has(c"getpid"));
        // SAFETY: its type is this one, and it has no precondition.
        let pid = unsafe { library.function::<unsafe extern "C" fn() -> i32>(c"getpid") };
        // SAFETY: as above.
        let pid = u32::try_from(unsafe { pid.unwrap()() });
        assert_eq!(pid, Ok(std::process::id()));
        assert!(library.file(c"getpid").starts_with("libc"));
        // SAFETY: there is no such function.
        let error = unsafe { library.function::<fn()>(c"qzInit") }.unwrap_err();
        assert_eq!(error.to_string(), "libc.so.6 has no function qzInit");
    }
}
