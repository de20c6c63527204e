// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who does the work: libqatzip with a device, libqatzip's own software, or this crate.

use std::path::Path;

use multifd_core::method::{Accelerator, CodecPath, Implementation};
use multifd_core::{ChannelSetup, MethodError, MethodOptions};
use multifd_deflate::Deflate;
use qatzip_sys::{Config, Library};

use crate::attempt::Work;
use crate::host::Host;
use crate::member::NAME;
use crate::session::Sessions;
use crate::trial;
use crate::worker::Plan;

/// What was decided when the method was opened.
#[derive(Debug)]
pub(crate) enum Engine {
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
    /// Whether the device has to do everything.
    must: bool,
}

impl Engine {
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
                .and_then(|vendor| vendor.permit(options))
                .map(Self::Vendor)
                .map_err(device),
            Accelerator::Hardware if may_have_device() => Vendor::open(file, level, false)
                .map(|vendor| {
                    Self::Vendor(Vendor {
                        must: true,
                        ..vendor
                    })
                })
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

    /// Who does the work, and why; `deflate` is what this crate has.
    pub(crate) fn describe(&self, deflate: &Deflate) -> Implementation {
        let (path, library, why) = match self {
            Self::Own(why) => (CodecPath::Software, None, why.clone()),
            Self::Vendor(vendor) => {
                let path = match vendor.no_device {
                    None => CodecPath::Hardware,
                    Some(_) => CodecPath::VendorSoftware,
                };
                (path, Some(vendor.library.file()), vendor.no_device.clone())
            }
        };
        let implementation = Implementation::new(path)
            .with_fallback(deflate.implementation())
            .with_why(why);
        match library {
            Some(library) => implementation.with_library(library),
            None => implementation,
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
        let no_device = trial::run(&library, level).err();
        if let (Some(why), false) = (&no_device, software) {
            return Err(why.clone());
        }
        let vendor = Self {
            library,
            level,
            no_device,
            software,
            must: false,
        };
        if software {
            let config = Config::new(level).with_software_backup();
            let session = vendor.library.session(config);
            session.map_err(|error| format!("{}: {error}", vendor.library.file()))?;
        }
        Ok(vendor)
    }

    /// Whether the library may work without a device.
    fn permit(self, options: &MethodOptions) -> Result<Self, String> {
        let is_allowed = options.text(ALONE_OPTION) == Some(ALONE);
        match &self.no_device {
            Some(why) if self.library.loses_thread_keys() && !is_allowed => Err(format!(
                "{}={}, but {why}; and {} {LOSES_KEYS}",
                Accelerator::OPTION,
                Accelerator::Library,
                self.library.file()
            )),
            _ => Ok(self),
        }
    }

    /// Starts the sessions of a channel, from its thread. `work` is what they do, in buffers of these lengths.
    ///
    /// # Errors
    /// The device has to do everything, and this channel does not get it.
    pub(crate) fn sessions(
        &self,
        setup: &ChannelSetup,
        work: Work,
        input: usize,
        output: usize,
    ) -> Result<Sessions, MethodError> {
        let level = match work {
            Work::Compress => self.level,
            _ => Config::LEVEL,
        };
        let plan = |config| Plan {
            library: self.library.clone(),
            config,
            work,
            input,
            output,
            is_patient: self.must,
        };
        let config = Config::new(level);
        let device = self.no_device.is_none().then(|| plan(config));
        let software = self.software.then(|| plan(config.with_software_backup()));
        Sessions::start(setup, device, software, self.must)
    }
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

/// The option that lets a library work without a device though it loses thread keys, with the value ..
const ALONE_OPTION: &str = "qatzip-without-device";
/// .. that says so. For tests and measurements: after some 1000 packets nothing else in the process gets a key.
const ALONE: &str = "allow";

const LOSES_KEYS: &str = "loses one of the process's 1024 thread keys with each packet then; choose \
                          software, which is faster, or measure with qatzip-without-device=allow";

const INSTALL: &str = "install libqatzip (Debian, Ubuntu: libqatzip3; Fedora, RHEL: qatzip-libs), or \
                       name its file in the option qatzip-library";
