// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command line, and the file that it names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::file::{ConfigFile, contradict};
use super::in_force::InForce;
use super::value::is_of_pairs;
use crate::args::Args;
use crate::show::failure::Failure;

/// The arguments of this process. What a file adds to them may be another thing later.
pub(crate) struct Given {
    words: Vec<OsString>,
    /// The file that is read when the command line names none.
    usual: PathBuf,
}

/// What the arguments say, and the file.
pub(crate) struct Reading {
    pub(crate) args: Args,
    /// The options of a relay.
    pub(crate) in_force: InForce,
}

/// Arguments that cannot be used.
pub(crate) enum Unusable {
    /// Those of the command line, or it asks for help: clap says it.
    CommandLine(clap::Error),
    /// Those of the file, or both together.
    File(Failure),
}

impl Given {
    pub(crate) fn to_this_process() -> Self {
        Self::new(std::env::args_os().collect(), USUAL.into())
    }

    pub(super) fn new(words: Vec<OsString>, usual: PathBuf) -> Self {
        Self { words, usual }
    }

    /// Reads them, and the file.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn read(&self) -> Result<Reading, Unusable> {
        let mut command = Args::command();
        command.build();
        let file = match (self.typed(&command), command.find_subcommand(RELAY)) {
            (Some((place, typed)), Some(relay)) => {
                let file = self.file(&typed, relay).map_err(Unusable::File)?;
                file.map(|file| {
                    let added = added(&file, relay, &typed);
                    (place, file, added)
                })
            }
            _ => None,
        };
        let Some((place, file, added)) = file else {
            let matches = command.try_get_matches_from_mut(&self.words);
            let matches = matches.map_err(Unusable::CommandLine)?;
            return read(&command, &matches, None).map_err(Unusable::CommandLine);
        };
        let (before, behind) = self.words.split_at(place + 1);
        let arguments = added.iter().map(|(_, argument)| OsString::from(argument));
        let words = before
            .iter()
            .cloned()
            .chain(arguments)
            .chain(behind.iter().cloned());
        let together = |error: clap::Error| match error.use_stderr() {
            true => Unusable::File(with_file(&error, file.path())),
            false => Unusable::CommandLine(error),
        };
        let matches = command.try_get_matches_from_mut(words).map_err(together)?;
        let lines = added.into_iter().map(|(line, _)| line).collect();
        read(&command, &matches, Some((&file, lines))).map_err(together)
    }

    /// What was typed behind `relay`, whatever may be wrong with it, and where that word is.
    fn typed(&self, command: &Command) -> Option<(usize, ArgMatches)> {
        if !self.words.iter().any(|word| word == RELAY) {
            return None;
        }
        let relay = |words: &[OsString]| {
            let command = command.clone().ignore_errors(true);
            // --help and --version.
            let matches = command.try_get_matches_from(words).ok()?;
            matches.subcommand_matches(RELAY).cloned()
        };
        let typed = relay(&self.words)?;
        let is_relay = |at: &usize| {
            let before = self.words.get(..=*at).unwrap_or_default();
            before.last().is_some_and(|word| word == RELAY) && relay(before).is_some()
        };
        let place = (1..self.words.len()).find(is_relay)?;
        Some((place, typed))
    }

    fn file(&self, typed: &ArgMatches, relay: &Command) -> Result<Option<ConfigFile>, Failure> {
        let named = typed.try_get_one::<PathBuf>("config").ok().flatten();
        let path = match named {
            Some(path) if path.as_os_str().is_empty() => return Ok(None),
            Some(path) => path,
            None if !self.usual.exists() => return Ok(None),
            None => &self.usual,
        };
        ConfigFile::read(path, relay).map(Some)
    }
}

/// The file that a relay reads if it is not told otherwise.
const USUAL: &str = "/etc/multifd/relay.toml";

const RELAY: &str = "relay";

/// The arguments that a file adds to those that were typed, which come first, with their lines.
fn added(file: &ConfigFile, relay: &Command, typed: &ArgMatches) -> Vec<((String, usize), String)> {
    let is_typed = |id: &str| typed.value_source(id) == Some(ValueSource::CommandLine);
    let counts = |id: &str| {
        // Of pairs those of another name stay.
        let mut same = relay.get_arguments().filter(|arg| arg.get_id() == id);
        let stays = same.any(is_of_pairs);
        let against = |arg: &clap::Arg| {
            let other = arg.get_id().as_str();
            is_typed(other) && contradict(relay, id, other)
        };
        (!is_typed(id) || stays) && !relay.get_arguments().any(against)
    };
    let options = file.options().iter().filter(|option| counts(&option.id));
    options
        .map(|option| ((option.id.clone(), option.line), option.argument.clone()))
        .collect()
}

fn read(
    command: &Command,
    matches: &ArgMatches,
    file: Option<(&ConfigFile, Vec<(String, usize)>)>,
) -> Result<Reading, clap::Error> {
    let relay = command
        .find_subcommand(RELAY)
        .zip(matches.subcommand_matches(RELAY));
    let in_force = relay.map(|(relay, matches)| InForce::of(relay, matches, file));
    Ok(Reading {
        args: Args::from_arg_matches(matches)?,
        in_force: in_force.unwrap_or_default(),
    })
}

/// An error of the command line that may be the file's.
fn with_file(error: &clap::Error, path: &Path) -> Failure {
    let text = error.to_string();
    let lines = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    let what = text.trim_start_matches("error: ");
    Failure::usage(what).hint(format!("options are also in {}", path.display()))
}
