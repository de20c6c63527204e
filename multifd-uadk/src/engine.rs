// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who does the work: the device by UADK's library, or this crate.

use std::path::Path;

use multifd_core::method::{Accelerator, CodecPath, Implementation};
use multifd_core::{ChannelSetup, MethodError};
use multifd_deflate::Deflate;

use crate::host;
use crate::library::Missing;
use crate::process::{Driver, Process, Unusable};
use crate::request::{Operation, Way};
use crate::session::Session;
use crate::trial;
use crate::zlib::NAME;

/// What was decided when the method was opened.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The device; or why there is none, but for nobody wanting it.
    driver: Result<(Driver, Way), Option<Unusable>>,
    /// What the host wants of it.
    accelerator: Accelerator,
}

impl Engine {
    /// Finds what `accelerator` asks for. `location` is where the library is, if somebody says so. It may be
    /// loaded and its device tried: this is for the host's thread.
    ///
    /// # Errors
    /// A device is asked for and cannot be had: what is missing, and what to do about it.
    pub(crate) fn open(
        process: &Process,
        accelerator: Accelerator,
        location: Option<&Path>,
        deflate: &Deflate,
    ) -> Result<Self, MethodError> {
        let driver = match accelerator {
            Accelerator::Software => Err(None),
            _ => tried(process, location, deflate).map_err(Some),
        };
        match driver {
            Err(Some(unusable)) if is_wanted(accelerator) => Err(missing(accelerator, &unusable)),
            driver => Ok(Self {
                driver,
                accelerator,
            }),
        }
    }

    /// What a channel has of the device; `None` if the method has none.
    ///
    /// # Errors
    /// A device is asked for, and gives this channel no session.
    pub(crate) fn session(
        &self,
        setup: &ChannelSetup,
        operation: Operation,
    ) -> Result<Option<Session>, MethodError> {
        let Ok((driver, way)) = &self.driver else {
            return Ok(None);
        };
        let must = self.accelerator == Accelerator::Hardware;
        let session = Session::new(setup, (driver, *way), operation, must);
        if session.is_missing() && is_wanted(self.accelerator) {
            let (option, choice) = (Accelerator::OPTION, self.accelerator);
            let (why, advice) = (Unusable::NoSession, host::diagnose());
            let what =
                format!("{option}={choice}, but this channel has no device: {why}: {advice}");
            return Err(MethodError::device(NAME, what));
        }
        Ok(Some(session))
    }

    /// Who does the work, and why; `deflate` is what this crate has.
    pub(crate) fn describe(&self, deflate: &Deflate) -> Implementation {
        let implementation = match &self.driver {
            Ok((driver, _)) => Implementation::new(CodecPath::Hardware).with_library(driver.file()),
            Err(why) => {
                let chosen = || format!("{}={}", Accelerator::OPTION, Accelerator::Software);
                let why = why.as_ref().map_or_else(chosen, Unusable::to_string);
                Implementation::software().with_why(Some(why))
            }
        };
        implementation.with_fallback(deflate.implementation())
    }
}

/// The device's driver, tried, and how it is asked.
fn tried(
    process: &Process,
    location: Option<&Path>,
    deflate: &Deflate,
) -> Result<(Driver, Way), Unusable> {
    let driver = process.driver(location)?;
    let way = trial::run(&driver, deflate)?;
    Ok((driver, way))
}

/// Whether a method or a channel without the device is an error.
fn is_wanted(accelerator: Accelerator) -> bool {
    !matches!(accelerator, Accelerator::Auto | Accelerator::Software)
}

/// A device was asked for and cannot be had: what is missing, and what to do.
fn missing(wanted: Accelerator, unusable: &Unusable) -> MethodError {
    let advice = match unusable {
        Unusable::Missing(Missing::Library { error, .. }) => format!(
            "{error}. Install UADK, or name the folder of its library with {}",
            LIBRARY_OPTION
        ),
        Unusable::Missing(Missing::Function(_)) => "UADK 2.4 or later is wanted".to_owned(),
        Unusable::InUse => "one part of a process can use it at a time".to_owned(),
        Unusable::Init { .. } | Unusable::NoSession | Unusable::Trial { .. } => host::diagnose(),
    };
    MethodError::device(
        NAME,
        format!("{}={wanted}, but {unusable}: {advice}", Accelerator::OPTION),
    )
}

/// The option that names the library's file, or the folder that it is in.
pub(crate) const LIBRARY_OPTION: &str = "uadk-library";
