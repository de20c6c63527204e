//! `multifd release` and `multifd drop`: what becomes of a guest that is kept here unreleased.

use std::path::Path;

use crate::args::KeptArgs;
use crate::disk::unreleased;
use crate::show::exit_code::ExitCode;
use crate::show::output;

/// The guests are this side's.
pub(crate) fn release(args: &KeptArgs) -> anyhow::Result<ExitCode> {
    each(args, unreleased::release, "released")
}

/// The guests are thrown away.
pub(crate) fn drop_kept(args: &KeptArgs) -> anyhow::Result<ExitCode> {
    each(args, unreleased::drop_kept, "dropped")
}

fn each(
    args: &KeptArgs,
    act: impl Fn(&Path) -> anyhow::Result<()>,
    done: &str,
) -> anyhow::Result<ExitCode> {
    for path in &args.paths {
        act(path)?;
        output::line(format_args!("{done} {}", path.display()))?;
    }
    Ok(ExitCode::Ok)
}
