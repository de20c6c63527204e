// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay would do, without doing it.

use super::plan::{Plan, check_ends};
use crate::args::RelayArgs;
use crate::config::InForce;
use crate::show::exit_code::ExitCode;
use crate::show::output;

/// Checks all that can be wrong before a source comes, except that the address may be in use, and prints the options.
///
/// # Errors
/// A relay would not start with them.
pub(super) fn check(args: &RelayArgs, in_force: &InForce) -> anyhow::Result<ExitCode> {
    Plan::new(args)?;
    if let Some(address) = &args.listen {
        check_ends(std::slice::from_ref(address), &args.to)?;
        args.allow.at(std::slice::from_ref(address))?;
    }
    for line in in_force.to_string().lines() {
        output::line(format_args!("{line}"))?;
    }
    Ok(ExitCode::Ok)
}
