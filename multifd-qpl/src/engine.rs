//! Which implementation a migration uses, and why.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use multifd_core::MethodError;
use multifd_core::method::Accelerator;
use multifd_deflate::Deflate;

use crate::host::{self, Missing};
use crate::job::{Operation, Queue};
use crate::library::Library;
use crate::status::Status;

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
    Hardware { library: Arc<Library> },
}

impl Engine {
    /// Finds what `accelerator` asks for. `library` is the path or the name of libqpl.
    ///
    /// # Errors
    /// It asks for the device or the library, and what is missing for that.
    pub(crate) fn choose(accelerator: Accelerator, library: &str) -> Result<Self, Missing> {
        match accelerator {
            Accelerator::Auto => Ok(Self::hardware(library)
                .unwrap_or_else(|missing| Self::Software { why: missing.what })),
            Accelerator::Hardware => Self::hardware(library),
            Accelerator::Library => {
                let library = load(library)?;
                Ok(
                    match host::look(Path::new(ROOT)).and_then(|()| try_out(&library)) {
                        Ok(()) => Self::Hardware { library },
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

    /// Without a device nothing is loaded.
    fn hardware(library: &str) -> Result<Self, Missing> {
        host::look(Path::new(ROOT))?;
        let library = load(library)?;
        try_out(&library)?;
        Ok(Self::Hardware { library })
    }

    /// One line for a log. `deflate` is what this project's own implementation uses.
    pub(crate) fn describe(&self, deflate: &Deflate) -> String {
        let deflate = deflate.implementation();
        match self {
            Self::Software { why } => format!("software ({deflate}; {why})"),
            Self::Library { library, why } => format!("vendor-software ({library}; {why})"),
            Self::Hardware { library } => format!("hardware ({library}; {deflate} as fallback)"),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software { .. } => "Software",
            Self::Library { .. } => "Library",
            Self::Hardware { .. } => "Hardware",
        })
    }
}

fn load(library: &str) -> Result<Arc<Library>, Missing> {
    let library = Library::load(library).map_err(|error| Missing {
        what: format!("no libqpl ({error})"),
        remedy: "install libqpl 1.5 or later, or name its path in the option qpl-library",
    })?;
    Ok(Arc::new(library))
}

/// Has the device compress a little, and decompress it again.
fn try_out(library: &Arc<Library>) -> Result<(), Missing> {
    let failed = |what: &str, status: Status| Missing {
        what: format!("{library} cannot {what} an IAA device, {status}"),
        remedy: status.remedy(),
    };
    let mut queue =
        Queue::new(library, 1, TRIAL, TRIAL).map_err(|status| failed("reach", status))?;
    queue.input_mut().fill(CONTENT);
    let length = work(&mut queue, Operation::Compress, TRIAL)
        .map_err(|status| failed("compress with", status))?;
    let stream = queue.output(0).and_then(|output| output.get(..length));
    let stream = stream.unwrap_or_default().to_vec();
    for (to, from) in queue.input_mut().iter_mut().zip(stream) {
        *to = from;
    }
    let written = work(&mut queue, Operation::Decompress, length)
        .map_err(|status| failed("decompress with", status))?;
    let output = queue.output(0).unwrap_or_default();
    if written == TRIAL && output.iter().all(|byte| *byte == CONTENT) {
        Ok(())
    } else {
        Err(Missing {
            what: format!("{library} and the IAA device gave back other data"),
            remedy: "look for the device's errors in the kernel's log",
        })
    }
}

fn work(queue: &mut Queue, operation: Operation, input: usize) -> Result<usize, Status> {
    queue.submit(0, operation, 0..input, TRIAL)?;
    queue.wait(0)
}

/// The option with the path of libqpl.
pub(crate) const LIBRARY_OPTION: &str = "qpl-library";
/// Where the host's `sys` and `dev` are.
const ROOT: &str = "/";
/// The library's soname.
pub(crate) const LIBRARY: &str = "libqpl.so.1";
/// Bytes of the trial ..
const TRIAL: usize = 4096;
/// .. each of which is this one.
const CONTENT: u8 = b'x';

/// Core keeps to the packet sizes of the set-up; what comes otherwise is refused.
pub(crate) fn too_many_pages() -> MethodError {
    MethodError::device(NAME, "more pages than the channel was set up for")
}

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = "qpl";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in;

    #[test]
    fn without_a_library_only_those_who_insist_fail() {
        let nowhere = "libqpl-of-nowhere.so.1";
        for accelerator in [Accelerator::Auto, Accelerator::Software] {
            let engine = Engine::choose(accelerator, nowhere).unwrap();
            assert!(matches!(engine, Engine::Software { .. }), "{engine:?}");
        }
        let error = Engine::choose(Accelerator::Library, nowhere).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(nowhere) && text.contains("install"), "{text}");
        // There is no device either, on most hosts.
        Engine::choose(Accelerator::Hardware, nowhere).unwrap_err();
    }

    #[test]
    fn a_device_is_tried_before_it_is_trusted() {
        let library = stand_in::library();
        assert_eq!(try_out(&library), Ok(()));
        stand_in::set_failure(2, 503);
        let missing = try_out(&library).unwrap_err();
        assert_eq!(
            missing.what,
            "libqpl 1.9.0 cannot decompress with an IAA device, status 503"
        );
        stand_in::set_depth(0);
        let missing = try_out(&library).unwrap_err().to_string();
        assert!(missing.contains("cannot compress with"), "{missing}");
        assert!(missing.contains("configure larger ones"), "{missing}");
        assert_eq!((stand_in::at_work(), stand_in::jobs()), (0, 0));
    }
}
