// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd demo`: every method once.

use crate::args::{DemoArgs, pair};
use crate::lab::laboratory::{self, Laboratory};
use crate::lab::measurement::{Case, medians};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    check(&args.set)?;
    let methods = laboratory::methods(&args.guest.methods)?;
    let workload = (!args.still).then_some(&args.workload);
    let laboratory = Laboratory::new(&args.guest, workload, &args.set)?;
    let (mut measurements, mut reports) = (Vec::new(), Vec::new());
    for method in methods {
        let adapts = laboratory::adapts(&args.guest, &method)?;
        for tls in laboratory::ways(&args.guest) {
            let case = Case {
                method: method.clone(),
                level: None,
                channels: args.channels,
                max_bandwidth: args.guest.max_bandwidth.0,
                tls,
                adapts,
            };
            let run = laboratory.run(&case, "")?;
            let report = [run.report];
            measurements.push(medians(&case, &report, run.verified));
            reports.extend(report);
        }
    }
    laboratory.print(&measurements, &reports)
}

/// What each case sets is not for `--set`, where it would do nothing.
///
/// # Errors
/// Such a setting, and the option for it.
fn check(set: &[String]) -> Result<(), Failure> {
    for (name, option) in OPTIONS {
        if set.iter().any(|text| pair(text.trim()).0 == name) {
            let what = format!("--set {name} is not for a demo: use {option}");
            return Err(Failure::usage(what));
        }
    }
    Ok(())
}

/// Settings of a case, and who says what they are.
const OPTIONS: [(&str, &str); 4] = [
    ("multifd-compression", "--methods"),
    ("multifd-channels", "--channels"),
    ("max-bandwidth", "--max-bandwidth"),
    ("tls-creds", "--tls"),
];
