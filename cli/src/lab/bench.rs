// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd bench`: methods, levels and numbers of channels against each other.

use migration_params::{Settings, known};

use crate::args::BenchArgs;
use crate::lab::laboratory::{self, Laboratory};
use crate::lab::measurement::{Case, level_setting, medians};
use crate::lab::pair::PairReport;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;

/// Runs all cases in turn, and that as often as asked for, so that whatever else happens on the host
/// meets all of them alike.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let mut methods = Vec::new();
    for name in laboratory::methods(&args.guest.methods)? {
        let adapts = laboratory::adapts(&args.guest, &name)?;
        methods.push((name, adapts));
    }
    let cases = cases(args, &methods)?;
    let laboratory = Laboratory::new(&args.guest, None, &[])?;
    if let Some(first) = cases.first() {
        laboratory.run(first, ", warm-up")?;
    }
    let mut runs: Vec<Vec<PairReport>> = cases.iter().map(|_| Vec::new()).collect();
    let mut verified = vec![true; cases.len()];
    for number in 1..=args.runs {
        let places = runs.iter_mut().zip(&mut verified);
        for (case, (reports, verified)) in cases.iter().zip(places) {
            let note = format!(
                ", {} channels, run {number} of {}",
                case.channels, args.runs
            );
            let run = laboratory.run(case, &note)?;
            reports.push(run.report);
            *verified &= run.verified;
        }
    }
    let rows = cases.iter().zip(&runs).zip(verified);
    let measurements: Vec<_> = rows
        .map(|((case, runs), verified)| medians(case, runs, verified))
        .collect();
    let last: Vec<_> = runs.into_iter().filter_map(|mut runs| runs.pop()).collect();
    laboratory.print(&measurements, &last)
}

/// Each method with each number of channels, and with each level that it has; and once more where it is to adapt.
fn cases(args: &BenchArgs, methods: &[(String, bool)]) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    for channels in &args.channels {
        for (method, adapts) in methods {
            let fixed = levels(method, &args.levels).into_iter();
            let fixed = fixed.map(|level| (level, false));
            for (level, adapts) in fixed.chain(adapts.then_some((None, true))) {
                cases.extend(laboratory::ways(&args.guest).map(|tls| Case {
                    method: method.clone(),
                    level,
                    channels: *channels,
                    max_bandwidth: args.guest.max_bandwidth.0,
                    tls,
                    adapts,
                }));
            }
        }
    }
    if cases.is_empty() {
        let what = "none of the methods has any of the levels";
        return Err(Failure::usage(what).hint("see the levels' ranges with `multifd params`"));
    }
    Ok(cases)
}

/// The wanted levels that a method has; `None` for its default, or where it has no levels.
pub(crate) fn levels(method: &str, wanted: &[u8]) -> Vec<Option<u8>> {
    let parameter = format!("multifd-{method}-level");
    if wanted.is_empty() || !known().any(|known| known.name == parameter) {
        return vec![None];
    }
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for level in wanted {
        match Settings::default().set(&level_setting(method, *level)) {
            Ok(()) => taken.push(Some(*level)),
            Err(error) => left.push(error.to_string()),
        }
    }
    for error in left {
        output::message(format_args!("multifd: skipped: {error}"));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_that_there_are_are_taken() {
        assert_eq!(levels("none", &[1, 2]), [None]);
        assert_eq!(levels("zstd", &[]), [None]);
        assert_eq!(levels("zstd", &[0, 20, 21]), [Some(0), Some(20)]);
        assert_eq!(levels("qatzip", &[0, 9, 10]), [Some(9)]);
        assert_eq!(levels("zlib", &[10]), []);
    }
}
