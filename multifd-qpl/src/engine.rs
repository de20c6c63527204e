// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which implementation a migration uses, and why.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use multifd_core::method::{Accelerator, CodecPath, Implementation};
use multifd_deflate::Deflate;

use crate::host::{self, Missing};
use crate::library::{Hardware, Library};
use crate::trial::try_out;

/// What does the work of all channels.
#[derive(Clone)]
pub(crate) enum Engine {
    /// This project's own implementation.
    Software {
        /// Why it is not the device.
        why: String,
    },
    /// libqpl's software path.
    Library {
        library: Arc<Library>,
        /// Why it is not the device.
        why: String,
    },
    /// libqpl's hardware path.
    Hardware(Hardware),
}

impl Engine {
    /// Finds what `accelerator` asks for. `library` is the path or the name of libqpl, if one is named: that is
    /// asked, else a look at the host's devices is enough to tell.
    ///
    /// # Errors
    /// It asks for the device or the library, and what is missing for that.
    pub(crate) fn choose(accelerator: Accelerator, library: Option<&str>) -> Result<Self, Missing> {
        match accelerator {
            Accelerator::Auto => Ok(Self::hardware(library, false)
                .unwrap_or_else(|missing| Self::Software { why: missing.what })),
            Accelerator::Hardware => Self::hardware(library, true),
            Accelerator::Library => {
                let library = load(library)?;
                Ok(
                    match host::look(Path::new(ROOT)).and_then(|()| try_out(&library)) {
                        Ok(()) => Self::Hardware(Hardware {
                            library,
                            must: false,
                        }),
                        Err(missing) => Self::Library {
                            library,
                            why: missing.what,
                        },
                    },
                )
            }
            _ => Ok(Self::Software {
                why: format!("{}={accelerator}", Accelerator::OPTION),
            }),
        }
    }

    /// Without a device nothing is loaded, unless it is named.
    fn hardware(library: Option<&str>, must: bool) -> Result<Self, Missing> {
        let seen = host::look(Path::new(ROOT));
        if library.is_none() {
            seen.clone()?;
        }
        let library = load(library)?;
        // What the kernel shows tells more than what the library says of it.
        try_out(&library).map_err(|missing| seen.err().unwrap_or(missing))?;
        Ok(Self::Hardware(Hardware { library, must }))
    }

    /// Who does the work, and why. `deflate` is what this project's own implementation uses.
    pub(crate) fn describe(&self, deflate: &Deflate) -> Implementation {
        let (path, library, why) = match self {
            Self::Software { why } => (CodecPath::Software, None, Some(why)),
            Self::Library { library, why } => (CodecPath::VendorSoftware, Some(library), Some(why)),
            Self::Hardware(hardware) => (CodecPath::Hardware, Some(&hardware.library), None),
        };
        let implementation = Implementation::new(path)
            .with_fallback(deflate.implementation())
            .with_why(why.cloned());
        match library {
            Some(library) => implementation
                .with_library("libqpl")
                .with_version(library.version()),
            None => implementation,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software { .. } => "Software",
            Self::Library { .. } => "Library",
            Self::Hardware(_) => "Hardware",
        })
    }
}

fn load(library: Option<&str>) -> Result<Arc<Library>, Missing> {
    let library = Library::load(library.unwrap_or(LIBRARY)).map_err(|error| Missing {
        what: format!("no libqpl ({error})"),
        remedy: "install libqpl 1.5 or later, or name its path in the option qpl-library",
    })?;
    Ok(Arc::new(library))
}

/// The option with the path of libqpl.
pub(crate) const LIBRARY_OPTION: &str = "qpl-library";
/// Where the host's `sys` and `dev` are.
const ROOT: &str = "/";
/// The library's soname.
const LIBRARY: &str = "libqpl.so.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_library_only_those_who_insist_fail() {
        let nowhere = Some("libqpl-of-nowhere.so.1");
        for accelerator in [Accelerator::Auto, Accelerator::Software] {
            let engine = Engine::choose(accelerator, nowhere).unwrap();
            assert!(matches!(engine, Engine::Software { .. }), "{engine:?}");
        }
        let error = Engine::choose(Accelerator::Library, nowhere).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("libqpl-of-nowhere.so.1") && text.contains("install"),
            "{text}"
        );
        // There is no device either, on most hosts.
        Engine::choose(Accelerator::Hardware, nowhere).unwrap_err();
    }
}
