// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What each method would do its work with.

use migration_params::Compression;
use multifd_core::method::{Accelerator, Implementation};
use multifd_core::{MethodOptions, Registry};

use super::finding::{Finding, Problem};
use super::host::Host;
use super::survey::{Readiness, Survey};
use crate::ends::methods;

/// One finding per method that QEMU knows.
///
/// On this host the methods themselves are asked, and what was found out about the host says why. Of
/// another host there is only the latter.
pub(crate) fn findings(
    host: &Host,
    survey: &Survey,
    options: &MethodOptions,
) -> anyhow::Result<Vec<Finding>> {
    let registry = methods::registry()?;
    let known: Vec<_> = registry.names().collect();
    let names = Compression::ALL.iter().map(|method| method.name());
    Ok(names
        .map(|name| {
            if !known.contains(&name) {
                return Finding::missing(name, "not built into this command");
            }
            let asked = host.is_here().then(|| Asked::of(&registry, name, options));
            match readiness(survey, name) {
                None => Finding::ok(name, software(asked.as_ref())),
                Some(readiness) => accelerated(name, readiness, asked),
            }
        })
        .collect())
}

/// What a method says that is to work with its vendor's library, whatever that works with.
///
/// # Errors
/// What the method said no with: the library cannot be loaded, or can do nothing without a device.
pub(crate) fn with_library(name: &str, options: &MethodOptions) -> Result<String, String> {
    let registry = methods::registry().map_err(|error| error.to_string())?;
    // It is only opened.
    let options = options.clone().with("qatzip-without-device", "allow");
    let opened = open(&registry, name, &options, Accelerator::Library);
    opened.map(|implementation| implementation.to_string())
}

fn open(
    registry: &Registry,
    name: &str,
    options: &MethodOptions,
    accelerator: Accelerator,
) -> Result<Implementation, String> {
    let options = options.clone().with(Accelerator::OPTION, accelerator);
    let method = registry.open(name, &options);
    method
        .map(|method| method.implementation())
        .map_err(|error| error.to_string())
}

/// How far a method is from its accelerator; `None` if there is none for it.
pub(crate) fn readiness(survey: &Survey, method: &str) -> Option<Readiness> {
    match method {
        "qatzip" => Some(survey.qatzip()),
        "qpl" => Some(survey.qpl()),
        "uadk" => Some(survey.uadk()),
        _ => None,
    }
}

/// What a method answers when it is opened.
struct Asked {
    /// What it would do its work with by default.
    by_default: Result<Implementation, String>,
    /// What it would use of a device, or why it cannot.
    hardware: Result<Implementation, String>,
}

impl Asked {
    fn of(registry: &Registry, name: &str, options: &MethodOptions) -> Self {
        Self {
            by_default: open(registry, name, options, Accelerator::Auto),
            hardware: open(registry, name, options, Accelerator::Hardware),
        }
    }

    /// What it would use of a device, if it would.
    fn device(&self) -> Option<&Implementation> {
        let asked = self.hardware.as_ref().ok()?;
        asked.is_hardware().then_some(asked)
    }
}

fn accelerated(name: &str, readiness: Readiness, asked: Option<Asked>) -> Finding {
    if let Some(device) = asked.as_ref().and_then(Asked::device) {
        return Finding::ok(name, device.to_string());
    }
    let software = software(asked.as_ref());
    let answer = asked.and_then(|asked| asked.hardware.err());
    match readiness {
        Readiness::NoDevice => Finding::ok(name, format!("{software}; there is no device for it")),
        Readiness::NotReady(devices, problem) => {
            let what = format!(
                "{software}, though there is a device ({devices}): {}",
                problem.what
            );
            Finding::unusable(name, &Problem::new(what, problem.advice))
        }
        // Nothing is in the way that can be seen, and still the method says no.
        Readiness::Ready(devices) => match answer {
            Some(answer) => Finding::unusable(
                name,
                &Problem::new(
                    format!("{software}, though there is a device ({devices}): {answer}"),
                    "see what --verbose and the library's own log say",
                ),
            ),
            None => Finding::ok(name, format!("hardware ({devices} devices)")),
        },
    }
}

fn software(asked: Option<&Asked>) -> String {
    match asked.map(|asked| &asked.by_default) {
        Some(Ok(answer)) => answer.to_string(),
        Some(Err(error)) => format!("cannot be opened: {error}"),
        None => Implementation::software().to_string(),
    }
}
