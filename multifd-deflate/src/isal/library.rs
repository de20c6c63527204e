// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Finding `libisal.so.2`.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::sync::Arc;

use vendor_library::{LoadError, VendorLibrary};

use super::abi::{Deflate, Init, SetHufftables};

/// ISA-L, loaded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Library {
    pub(super) functions: Functions,
    version: Option<Arc<str>>,
}

/// The functions that are called. None of them has state of its own, so any thread may call them.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) init: Init,
    pub(super) set_hufftables: SetHufftables,
    pub(super) deflate: Deflate,
}

impl Library {
    /// What the system's loader looks for: the second version of the interface.
    pub(crate) const SONAME: &str = "libisal.so.2";

    /// Loads a library by its path, or by its name from where the system's loader looks.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn load(name: &OsStr) -> Result<Self, String> {
        // SAFETY: what the library does when it is loaded is what the host's system, or whoever named
        // the file, trusts it with.
        let library = unsafe { VendorLibrary::load(name) }.map_err(|error| error.to_string())?;
        let functions = functions(&library).map_err(|error| error.to_string())?;
        let version = version_in(&library.file(DEFLATE)).map(Arc::from);
        Ok(Self { functions, version })
    }
}

fn functions(library: &VendorLibrary) -> Result<Functions, LoadError> {
    // SAFETY: the names stand for functions of these types in the header of the library's second
    // interface version.
    unsafe {
        Ok(Functions {
            init: library.function(c"isal_deflate_stateless_init")?,
            set_hufftables: library.function(c"isal_deflate_set_hufftables")?,
            deflate: library.function(DEFLATE)?,
        })
    }
}

const DEFLATE: &CStr = c"isal_deflate_stateless";

/// As `ISA-L 2.31`.
impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "ISA-L {version}"),
            None => f.write_str("ISA-L"),
        }
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The version that the name of the library's file ends in: `libisal.so.2.0.31` is ISA-L 2.31. The library
/// has no function that tells.
fn version_in(file: &str) -> Option<String> {
    let minor: u32 = file.strip_prefix("libisal.so.2.0.")?.parse().ok()?;
    Some(format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version_in("libisal.so.2.0.31").as_deref(), Some("2.31"));
        assert_eq!(version_in("libisal.so"), None);
        assert_eq!(version_in("libisal.so.2.0.x"), None);
    }

    #[test]
    fn what_cannot_be_used() {
        let refused = |name: &str| Library::open(OsStr::new(name)).unwrap_err();
        assert!(refused("/nowhere/libisal.so.2").contains("/nowhere/libisal.so.2"));
        // A library that is always there and is another one.
        let other = refused("libc.so.6");
        assert!(other.contains("isal_deflate_stateless_init"), "{other}");
    }
}
