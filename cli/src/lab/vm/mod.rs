// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd vm`: a hypervisor, and what a guest must have done to be whole.

mod destination;
mod guest;
mod source;
mod verdict;

pub(crate) use verdict::verdict;

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::args::VmArgs;
use crate::show::exit_code::ExitCode;

pub(crate) fn run(args: &VmArgs) -> anyhow::Result<ExitCode> {
    // A guest that runs would do so for ever if nobody were left to see how it ends.
    set_parent_process_death_signal(Some(Signal::TERM)).context("follow the demo's end")?;
    match (&args.to, &args.listen) {
        (Some(to), _) => source::run(args, to),
        (None, Some(from)) => destination::run(args, from),
        (None, None) => unreachable!("clap wants one of them"),
    }
}
