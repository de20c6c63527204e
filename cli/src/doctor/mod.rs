// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd doctor`: what this host has for each method, and what keeps it from being used.
//!
//! All is read from `/sys`, `/proc`, `/dev` and the folders of libraries, below a root that need not be
//! this host's; of credentials, from their folder. Modules that read answer plain facts; a finding is made of them without reading more.

mod finding;
mod host;
mod iaa;
mod iommu;
mod library;
mod memory;
mod methods;
mod models;
mod pci;
mod processor;
mod qat;
mod qatlib;
mod report;
mod survey;
mod tls;
mod uadk;
mod user;

use host::Host;
pub(crate) use survey::Devices;
use survey::Survey;

use std::fmt::Display;
use std::path::Path;
use std::time::SystemTime;

use multifd_core::MethodOptions;
use serde::Serialize;

use crate::args::{DoctorArgs, LibraryArgs};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;

/// Prints the findings. That something is missing is a finding and no failure.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.tls_dir {
        return credentials(folder, args.json);
    }
    let (host, options) = match &args.root {
        Some(root) if !root.is_dir() => {
            let what = format!("{} is not a folder", root.display());
            return Err(Failure::usage(what).into());
        }
        Some(root) => (Host::at(root), args.libraries.options_elsewhere()),
        None => (Host::here(), args.libraries.options(MethodOptions::new())),
    };
    let survey = Survey::of(&host, &options);
    let load = |method: &str| {
        let here = host.is_here();
        here.then(|| methods::with_library(method, &options))
    };
    let libraries = survey.libraries(load);
    let methods = methods::findings(&host, &survey, &options)?;
    print(&report::Report::new(methods, &survey, libraries), args.json)
}

/// Prints the findings about a folder with credentials.
fn credentials(folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    if !folder.is_dir() {
        let what = format!("{} is not a folder", folder.display());
        return Err(Failure::usage(what).into());
    }
    let folder = tls::Folder::read(folder);
    let tls = folder.findings(SystemTime::now());
    print(&report::Credentials { tls }, json)
}

fn print(report: &(impl Serialize + Display), json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(report)?;
    } else {
        output::line(format_args!("{report}"))?;
    }
    Ok(ExitCode::Ok)
}

/// The accelerators that methods can use on this host.
pub(crate) fn devices(libraries: &LibraryArgs) -> Devices {
    let options = libraries.options(MethodOptions::new());
    Survey::of(&Host::here(), &options).devices_ready()
}
