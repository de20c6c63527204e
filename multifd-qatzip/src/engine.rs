//! Who does the work: libqatzip with a device, libqatzip's own software, or this crate.

use std::path::Path;
use std::thread;
use std::time::Duration;

use multifd_core::MethodOptions;
use multifd_core::method::{Accelerator, CodecPath};
use multifd_core::{ChannelId, MethodError};
use multifd_deflate::Deflate;
use qatzip_sys::{Buffer, Code, Config, Direction, Error, Library};

use crate::host::Host;
use crate::member::NAME;
use crate::session::Sessions;

/// What was decided when the method was opened.
#[derive(Debug)]
pub(crate) enum Implementation {
    /// This crate's software; why, unless it was chosen.
    Own(Option<String>),
    /// The library.
    Vendor(Vendor),
}

/// libqatzip, loaded and tried.
#[derive(Debug)]
pub(crate) struct Vendor {
    library: Library,
    level: u8,
    /// Why there is no device to be used; `None` if there is one.
    no_device: Option<String>,
    /// Whether the library's own software may do what the device does not.
    software: bool,
}

impl Implementation {
    /// Decides by the options [`Accelerator::OPTION`] and [`LIBRARY_OPTION`]. May load the library and
    /// try its device: this is for the host's thread.
    ///
    /// # Errors
    /// What was chosen cannot be had: what is missing, and what to do about it.
    pub(crate) fn open(options: &MethodOptions, level: u8) -> Result<Self, MethodError> {
        let accelerator = options
            .accelerator()
            .map_err(|what| MethodError::config(NAME, what))?;
        let file = options.text(LIBRARY_OPTION);
        let host = Host(Path::new("/"));
        // A library that is named is asked. Else a look at the host's devices is enough to tell.
        let may_have_device = || file.is_some() || host.has_device();
        match accelerator {
            Accelerator::Software => Ok(Self::Own(None)),
            Accelerator::Library => Vendor::open(file, level, true)
                .map(Self::Vendor)
                .map_err(device),
            Accelerator::Hardware if may_have_device() => Vendor::open(file, level, false)
                .map(Self::Vendor)
                .map_err(|why| device(missing(&why, &host))),
            Accelerator::Hardware => Err(device(missing("no QAT device", &host))),
            // Auto, and what later versions of core may add.
            _ if may_have_device() => Ok(match Vendor::open(file, level, false) {
                Ok(vendor) => Self::Vendor(vendor),
                Err(why) => Self::Own(Some(why)),
            }),
            _ => Ok(Self::Own(Some("no QAT device".to_owned()))),
        }
    }

    /// One line that says who does the work, and why; `deflate` is what this crate has.
    pub(crate) fn describe(&self, deflate: &Deflate) -> String {
        let path = |path: CodecPath, what: &str| format!("{} ({what})", path.name());
        match self {
            Self::Own(None) => path(CodecPath::Software, &deflate.implementation()),
            Self::Own(Some(why)) => path(
                CodecPath::Software,
                &format!("{}; {why}", deflate.implementation()),
            ),
            Self::Vendor(vendor) => {
                let file = vendor.library.file();
                match &vendor.no_device {
                    None => path(CodecPath::Hardware, file),
                    Some(why) => path(CodecPath::VendorSoftware, &format!("{file}; {why}")),
                }
            }
        }
    }
}

impl Vendor {
    /// Loads the library and tries its device; with `software`, a device is not needed.
    fn open(file: Option<&str>, level: u8, software: bool) -> Result<Self, String> {
        let library = match file {
            Some(file) => Library::load_from(file),
            None => Library::load(),
        };
        let library = library.map_err(|error| format!("{error}; {INSTALL}"))?;
        let no_device = try_device(&library, level).err();
        if let (Some(why), false) = (&no_device, software) {
            return Err(why.clone());
        }
        let vendor = Self {
            library,
            level,
            no_device,
            software,
        };
        if software {
            let config = vendor.config(Direction::Compress).with_software_backup();
            let session = vendor.library.session(config);
            session.map_err(|error| format!("{}: {error}", vendor.library.file()))?;
        }
        Ok(vendor)
    }

    /// Makes the sessions of a channel, on its thread.
    pub(crate) fn sessions(&self, direction: Direction, channel: ChannelId) -> Sessions {
        let config = self.config(direction);
        let session = |config| self.library.session(config);
        let mut sessions = Sessions::new(channel);
        if self.no_device.is_none() {
            sessions.set_device(session(config), direction);
        }
        if self.software {
            sessions.set_software(session(config.with_software_backup()));
        }
        sessions
    }

    /// Makes a buffer that the device reaches, if there is one.
    pub(crate) fn buffer(&self, len: usize) -> Buffer {
        match self.no_device {
            None => self.library.buffer(len),
            Some(_) => Buffer::common(len),
        }
    }

    fn config(&self, direction: Direction) -> Config {
        Config::new(direction, self.level)
    }
}

/// Has a device compress and decompress a page: that there is one does not say that it does.
fn try_device(library: &Library, level: u8) -> Result<(), String> {
    let page = [0; 4096];
    let mut members = library.buffer(2 * page.len());
    let mut again = library.buffer(page.len());
    again.fill(1);
    let session = |direction| library.session(Config::new(direction, level));
    let mut why = String::new();
    let mut round_trip = || -> Result<bool, Error> {
        let len = session(Direction::Compress)?.compress(&page, &mut members)?;
        let made = members.get(..len).unwrap_or_default();
        session(Direction::Decompress)?.decompress(made, &mut again)?;
        Ok(*again == page)
    };
    for _ in 0..TRIES {
        match round_trip() {
            Ok(true) => return Ok(()),
            Ok(false) => {
                return Err("the QAT device does not give back what it compressed".to_owned());
            }
            // Other migrations of this process may have all instances for a moment.
            Err(error) if error.code() == Some(Code::NOSW_NO_INST_ATTACH) => {
                why = error.to_string();
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(why)
}

fn device(what: String) -> MethodError {
    MethodError::device(NAME, what)
}

/// Why a device cannot be used, and all that files tell about it.
fn missing(why: &str, host: &Host<'_>) -> String {
    format!(
        "hardware was chosen, but: {why}. What may be missing: {}",
        host.problems().join("; ")
    )
}

/// The option that names the library's file.
pub(crate) const LIBRARY_OPTION: &str = "qatzip-library";

/// How often, and after what pause, a device is asked whose instances are all taken.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(5);

const INSTALL: &str = "install libqatzip (Debian, Ubuntu: libqatzip3; Fedora, RHEL: qatzip-libs), or \
                       name its file in the option qatzip-library";
