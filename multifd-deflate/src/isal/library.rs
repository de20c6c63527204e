//! Finding `libisal.so.2`.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW, Symbol};

use super::abi::{Deflate, Init, SetHufftables};

/// ISA-L, loaded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Library {
    pub(super) functions: Functions,
    version: Option<Arc<str>>,
    /// Keeps the code of `functions` mapped.
    _handle: Arc<Handle>,
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
        // Everything is bound now, so that a channel's thread needs no loader.
        // SAFETY: what the library does when it is loaded is what the host's system, or whoever named
        // the file, trusts it with.
        let handle = unsafe { Handle::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let handle = handle.map_err(|error| describe(&error))?;
        // SAFETY: the names stand for functions of these types in the header of the library's second
        // interface version.
        let functions = unsafe {
            Functions {
                init: *symbol(&handle, c"isal_deflate_stateless_init")?,
                set_hufftables: *symbol(&handle, c"isal_deflate_set_hufftables")?,
                deflate: *symbol(&handle, c"isal_deflate_stateless")?,
            }
        };
        Ok(Self {
            functions,
            version: version(functions.deflate).map(Arc::from),
            _handle: Arc::new(handle),
        })
    }
}

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

/// # Safety
/// The library has under this name, if at all, a function of type `F`.
unsafe fn symbol<F>(handle: &Handle, name: &CStr) -> Result<Symbol<F>, String> {
    // SAFETY: the caller's promise.
    unsafe { handle.get(name.to_bytes_with_nul()) }.map_err(|error| describe(&error))
}

fn describe(error: &libloading::Error) -> String {
    error.to_string()
}

/// The version that the name of the library's file ends in: `libisal.so.2.0.31` is ISA-L 2.31. The library
/// has no function that tells.
fn version(function: Deflate) -> Option<String> {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: the function takes any address, and fills in `info`, which lives over the call.
    let found = unsafe { libc::dladdr(function as *const libc::c_void, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own string, which lives as long as the library is loaded: here it is.
    let path = unsafe { CStr::from_ptr(info.dli_fname) };
    version_in(&Path::new(path.to_str().ok()?).canonicalize().ok()?)
}

fn version_in(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let minor: u32 = name.strip_prefix("libisal.so.2.0.")?.parse().ok()?;
    Some(format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let version = |path| version_in(Path::new(path));
        assert_eq!(
            version("/usr/lib/libisal.so.2.0.31").as_deref(),
            Some("2.31")
        );
        assert_eq!(version("/opt/libisal.so"), None);
        assert_eq!(version("/opt/libisal.so.2.0.x"), None);
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
