// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! That every option is in a test of the command it belongs to.

use std::fs;
use std::path::Path;

use clap::{ArgAction, Command, CommandFactory as _};

use super::Args;

/// A file of the tests, and what is in it.
type Source = (String, String);

#[test]
fn every_option_of_every_command_is_in_a_test() {
    let sources = sources();
    assert!(sources.len() > 30, "{}", sources.len());
    let mut command = Args::command();
    command.build();
    let mut untested = Vec::new();
    let mut count = 0;
    let mut look = |command: &Command, all: &[&Source]| {
        for option in options(command) {
            count += 1;
            if !all.iter().any(|(_, text)| has(text, &option)) {
                untested.push(format!("{} --{option}", command.get_name()));
            }
        }
    };
    // Options of all commands: one is enough.
    look(&command, &sources.iter().collect::<Vec<_>>());
    // What is hidden is started by other commands.
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    for command in shown {
        let all = sources.iter();
        let all = all.filter(|(_, text)| runs(text, command.get_name()));
        look(command, &all.collect::<Vec<_>>());
    }
    assert!(count > 90, "{count}");
    assert!(untested.is_empty(), "in no test:\n{}", untested.join("\n"));
}

/// The long names of a command's own options.
fn options(command: &Command) -> Vec<String> {
    let is_root = command.get_name() == "multifd";
    let own = command.get_arguments().filter(|arg| {
        let is_help = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort
        );
        !(is_help || arg.is_hide_set()) && arg.is_global_set() == is_root
    });
    let names = own.flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default());
    names.map(String::from).collect()
}

/// Whether a test runs the command: by its name, or by the function that is named as it is.
fn runs(text: &str, command: &str) -> bool {
    text.contains(&format!("\"{command}\"")) || text.contains(&format!(" {command}("))
}

/// Whether an option is typed, or stands in a relay's file.
fn has(text: &str, option: &str) -> bool {
    text.contains(&format!("\"--{option}\"")) || text.contains(&format!("\"--{option}="))
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.display().to_string(), text));
            }
        }
    }
    sources
}
