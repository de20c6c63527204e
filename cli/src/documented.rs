// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! That what the documents say to type can be typed.

use std::path::Path;

use clap::Parser as _;
use multifd_tests::documents::{Typed, typed};

use crate::args::{Args, Command};
use crate::ends::settings;

#[test]
fn every_command_in_the_documents_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let all = typed(&root).unwrap();
    assert!(all.len() > 40, "{}", all.len());
    for typed in &all {
        let Typed {
            file,
            line,
            arguments,
        } = typed;
        let place = format!("{}:{line}: multifd {}", file.display(), arguments.join(" "));
        let words = ["multifd".to_owned()].into_iter().chain(arguments.clone());
        let args = Args::try_parse_from(words);
        let args = args.unwrap_or_else(|error| panic!("{place}\n{error}"));
        let checked = match &args.command {
            Command::Send(args) => settings(settings::effective, args.migration.settings(&[])),
            Command::Recv(args) => settings(settings::receiving, args.migration.settings(&[])),
            Command::Relay(args) => settings(settings::effective, Ok(args.incoming.clone()))
                .and_then(|()| settings(settings::effective, Ok(args.outgoing.clone()))),
            Command::Tune(args) => settings(settings::effective, Ok(args.set.clone())),
            Command::Demo(args) => settings(settings::effective, Ok(args.set.clone())),
            _ => Ok(()),
        };
        checked.unwrap_or_else(|error| panic!("{place}\n{error:#}"));
    }
}

fn settings<T>(
    read: impl Fn(&[String]) -> anyhow::Result<T>,
    set: Result<Vec<String>, crate::show::failure::Failure>,
) -> anyhow::Result<()> {
    read(&set?).map(drop)
}
