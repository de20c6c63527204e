// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The options that a relay has, wherever they come from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::ConfigFile;
use super::value::{is_of_pairs, is_option};
use crate::args::pair;

/// The options of a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InForce {
    file: Option<PathBuf>,
    /// By their names; each of several pairs by its own, as `in.multifd-channels`.
    options: BTreeMap<String, Setting>,
}

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    /// As a value of TOML.
    value: String,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    CommandLine,
    Line(usize),
}

/// An option that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    before: Option<String>,
    after: Option<String>,
}

impl InForce {
    /// What `matches` of `command` say, of which these ids and lines are of the file.
    pub(super) fn of(
        command: &Command,
        matches: &ArgMatches,
        file: Option<(&ConfigFile, Vec<(String, usize)>)>,
    ) -> Self {
        let (path, lines) = match file {
            Some((file, lines)) => (Some(file.path().to_owned()), lines),
            None => (None, Vec::new()),
        };
        let mut options = BTreeMap::new();
        for arg in command.get_arguments().filter(|arg| is_option(arg)) {
            let id = arg.get_id();
            let of_file = lines.iter().filter(|(of, _)| of == id);
            let lines: Vec<_> = of_file.map(|(_, line)| *line).collect();
            options.extend(settings(arg, matches, &lines));
        }
        Self {
            file: path,
            options,
        }
    }

    /// The file that was read.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Takes the options of these names from `new`.
    pub(crate) fn take(&mut self, names: &[&str], new: &Self) {
        for name in names {
            match new.options.get(*name) {
                Some(setting) => self.options.insert((*name).to_owned(), setting.clone()),
                None => self.options.remove(*name),
            };
        }
    }

    /// What is another thing in `new`.
    pub(crate) fn changes(&self, new: &Self) -> Vec<Change> {
        let value = |all: &Self, name: &str| Some(all.options.get(name)?.value.clone());
        let mut names: Vec<_> = self.options.keys().chain(new.options.keys()).collect();
        names.sort();
        names.dedup();
        let changes = names.into_iter().map(|name| Change {
            before: value(self, name),
            after: value(new, name),
            name: name.clone(),
        });
        changes
            .filter(|change| change.before != change.after)
            .collect()
    }
}

/// As a file with the same options, each with where it is from.
impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.options.iter();
        let lines: Vec<_> = lines
            .map(|(name, Setting { value, origin })| match origin {
                Origin::Default => (format!("#{name} = {value}"), origin),
                _ => (format!("{name} = {value}"), origin),
            })
            .collect();
        let width = lines.iter().map(|(line, _)| line.len()).max();
        for (line, origin) in &lines {
            write!(f, "{line:width$}  # ", width = width.unwrap_or_default())?;
            match (origin, &self.file) {
                (Origin::Default, _) => writeln!(f, "the default")?,
                (Origin::Line(line), Some(path)) => writeln!(f, "{}:{line}", path.display())?,
                (Origin::CommandLine | Origin::Line(_), _) => writeln!(f, "the command line")?,
            }
        }
        Ok(())
    }
}

/// What was, and what is.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(
            f,
            "{}: {}, was {}",
            self.name,
            text(&self.after),
            text(&self.before)
        )
    }
}

/// The names and values of one option, those from `lines` of the file first.
fn settings(arg: &Arg, matches: &ArgMatches, lines: &[usize]) -> Vec<(String, Setting)> {
    let id = arg.get_id().as_str();
    let name = arg.get_long().unwrap_or(id).to_owned();
    let is_default = matches.value_source(id) == Some(ValueSource::DefaultValue);
    let origin = |at: usize| match (is_default, lines.get(at)) {
        (true, _) => Origin::Default,
        (false, Some(line)) => Origin::Line(*line),
        (false, None) => Origin::CommandLine,
    };
    let setting = |value: String, at: usize| Setting {
        value,
        origin: origin(at),
    };
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return vec![(name, setting(matches.get_flag(id).to_string(), 0))];
    }
    let raw = matches.get_raw(id).into_iter().flatten();
    let texts: Vec<_> = raw
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    if is_of_pairs(arg) {
        // The last one of a name counts.
        let pairs = texts.iter().enumerate().map(|(at, text)| {
            let (part, value) = pair(text);
            (format!("{name}.{part}"), setting(quoted(value), at))
        });
        return pairs.collect();
    }
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    match (arg.get_action(), quoted.as_slice()) {
        (_, []) => Vec::new(),
        (ArgAction::Append, all) => vec![(name, setting(format!("[{}]", all.join(", ")), 0))],
        (_, all) => vec![(name, setting(all.join(" "), 0))],
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
