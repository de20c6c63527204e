// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd release` and `multifd drop`: what becomes of a guest that is kept here unreleased.

use std::path::Path;

use crate::args::KeptArgs;
use crate::disk::unreleased;
use crate::show::exit_code::ExitCode;
use crate::show::output;

/// The guests are this side's.
pub(crate) fn release(args: &KeptArgs) -> ExitCode {
    each(args, unreleased::release, "released")
}

/// The guests are thrown away.
pub(crate) fn drop_kept(args: &KeptArgs) -> ExitCode {
    each(args, unreleased::drop_kept, "dropped")
}

/// Does it with each, whatever becomes of the others and of what is printed.
fn each(args: &KeptArgs, act: impl Fn(&Path) -> anyhow::Result<()>, done: &str) -> ExitCode {
    let mut ended = ExitCode::Ok;
    for path in &args.paths {
        let shown = path.display();
        match act(path) {
            Ok(()) => {
                if let Err(error) = output::line(format_args!("{done} {shown}")) {
                    output::one_line(format_args!("multifd: {done} {shown}; {error}"));
                }
            }
            Err(error) => {
                output::one_line(format_args!("multifd: not {done}: {error:#}"));
                ended = ExitCode::Local;
            }
        }
    }
    ended
}
