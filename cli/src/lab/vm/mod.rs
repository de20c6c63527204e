//! `multifd vm`: a hypervisor, and what a guest must have done to be whole.

mod destination;
mod source;
mod verdict;

pub(crate) use verdict::verdict;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hypervisor::GuestReport;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::args::VmArgs;
use crate::show::exit_code::ExitCode;
use crate::show::report::GuestSummary;

pub(crate) fn run(args: &VmArgs) -> anyhow::Result<ExitCode> {
    // A guest that runs would do so for ever if nobody were left to see how it ends.
    set_parent_process_death_signal(Some(Signal::TERM)).context("follow the demo's end")?;
    match (&args.to, &args.from) {
        (Some(to), _) => source::run(args, to),
        (None, Some(from)) => destination::run(args, from),
        (None, None) => unreachable!("clap wants one of them"),
    }
}

/// Opens a guest's memory; answers also its length in bytes.
fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let open = || {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        std::io::Result::Ok((file, len))
    };
    open().with_context(|| format!("guest memory {}", path.display()))
}

fn summary(guest: GuestReport, written_before: u64) -> GuestSummary {
    GuestSummary {
        written_before,
        written: guest.written,
        checked: guest.checked,
        failures: guest.failures,
    }
}

/// How often to look at a guest.
const LOOK: Duration = Duration::from_millis(1);
/// A guest that has done nothing for so long never will.
const STANDSTILL: Duration = Duration::from_secs(30);
