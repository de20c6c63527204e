// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd demo`: every method once.

use crate::args::DemoArgs;
use crate::lab::laboratory::{self, Laboratory};
use crate::lab::measurement::{Case, medians};
use crate::show::exit_code::ExitCode;

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let methods = laboratory::methods(&args.guest.methods)?;
    let workload = (!args.still).then_some(&args.workload);
    let laboratory = Laboratory::new(&args.guest, workload, &args.set)?;
    let (mut measurements, mut reports) = (Vec::new(), Vec::new());
    for method in methods {
        for tls in laboratory::ways(&args.guest) {
            let case = Case {
                method: method.clone(),
                level: None,
                channels: args.channels,
                max_bandwidth: args.guest.max_bandwidth.0,
                tls,
            };
            let run = laboratory.run(&case, "")?;
            let report = [run.report];
            measurements.push(medians(&case, &report, run.verified));
            reports.extend(report);
        }
    }
    laboratory.print(&measurements, &reports)
}
