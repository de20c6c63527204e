//! `multifd doctor`: what this host has for each method, and what keeps it from being used.
//!
//! All is read from `/sys`, `/proc`, `/dev` and the folders of libraries, below a root that need not be
//! this host's. Modules that read answer plain facts; a finding is made of them without reading more.

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
mod uadk;
mod user;

use host::Host;
pub(crate) use survey::Devices;
use survey::Survey;

use multifd_core::MethodOptions;

use crate::args::{DoctorArgs, LibraryArgs};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;

/// Prints the findings. That something is missing is a finding and no failure.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let (host, options) = match &args.root {
        Some(root) if !root.is_dir() => {
            let what = format!("{} is no folder", root.display());
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
    let report = report::Report::new(methods, &survey, libraries);
    if args.json {
        output::json(&report)?;
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
