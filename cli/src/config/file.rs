// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A file with options.

use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::{ContextKind, ContextValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value;
use crate::show::failure::Failure;

/// The options that are in a file.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// In the order of the file.
    options: Vec<FileOption>,
}

/// One value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileOption {
    /// What clap knows it by.
    pub(super) id: String,
    /// As it would be on the command line.
    pub(super) argument: String,
    pub(super) line: usize,
}

impl ConfigFile {
    /// Reads a file with options of `command`.
    ///
    /// # Errors
    /// It cannot be read, or has something in it that is none of these options; where that is, and what was wanted.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", path.display()))
                .hint("--config names another file, --config '' none")
        })?;
        Self::parse(path, &text, command)
    }

    /// As [`Self::read`], of a file with this text.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn parse(path: &Path, text: &str, command: &Command) -> Result<Self, Failure> {
        let at = |place: usize, what: String| {
            let line = line(text, place);
            Failure::usage(format!("{}:{line}: {what}", path.display()))
        };
        let table = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let got = text.get(span.clone()).unwrap_or_default().lines().next();
            let got = got.filter(|got| !got.is_empty());
            let got = got.map_or_else(String::new, |got| format!("{got}: "));
            at(span.start, format!("{got}{}", error.message()))
        })?;
        let mut pairs: Vec<_> = table.get_ref().iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        let mut options = Vec::new();
        for (key, content) in &pairs {
            let found = option(key.get_ref(), content, command);
            let found = found.map_err(|(place, what)| {
                at(
                    place.unwrap_or(key.span().start),
                    format!("{}: {what}", key.get_ref()),
                )
            })?;
            options.extend(found.into_iter().map(|(place, option)| FileOption {
                line: line(text, place),
                ..option
            }));
        }
        let file = Self {
            path: path.to_owned(),
            options,
        };
        file.check_conflicts(command)?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn options(&self) -> &[FileOption] {
        &self.options
    }

    /// Refuses two options that contradict each other.
    fn check_conflicts(&self, command: &Command) -> Result<(), Failure> {
        for (at, later) in self.options.iter().enumerate() {
            let mut earlier = self.options.iter().take(at);
            if let Some(earlier) =
                earlier.find(|earlier| contradict(command, &earlier.id, &later.id))
            {
                let (path, line) = (self.path.display(), later.line);
                let (one, other) = (long(command, &later.id), long(command, &earlier.id));
                let what = format!(
                    "{path}:{line}: {one}: contradicts {other} on line {}, wanted one of them",
                    earlier.line
                );
                return Err(Failure::usage(what));
            }
        }
        Ok(())
    }
}

/// Whether only one of two options may be given.
pub(super) fn contradict(command: &Command, one: &str, other: &str) -> bool {
    let has = |one: &str, other: &str| {
        let mut all = command.get_arguments();
        let arg = all.find(|arg| arg.get_id() == one);
        let conflicts = arg.map(|arg| command.get_arg_conflicts_with(arg));
        let mut conflicts = conflicts.into_iter().flatten();
        conflicts.any(|arg| arg.get_id() == other)
    };
    one != other && (has(one, other) || has(other, one))
}

/// The values of one key, each with its place in the text; or what is wrong, and where.
fn option(
    key: &str,
    content: &Spanned<DeValue<'_>>,
    command: &Command,
) -> Result<Vec<(usize, FileOption)>, value::Wrong> {
    let mut known = command.get_arguments().filter(|arg| value::is_option(arg));
    let Some(arg) = known.find(|arg| arg.get_long() == Some(key)) else {
        return Err((None, unknown(key, command)));
    };
    let texts = value::texts(arg, content)?;
    let options = texts.into_iter().map(|(place, text)| {
        let argument = match text {
            Some(text) => format!("--{key}={text}"),
            None => format!("--{key}"),
        };
        let id = arg.get_id().to_string();
        (
            place,
            FileOption {
                id,
                argument,
                line: 0,
            },
        )
    });
    Ok(options.collect())
}

/// What to say of a key that is no option: which one it may have been meant for, as the command line would.
fn unknown(key: &str, command: &Command) -> String {
    if value::NOT_IN_FILES.contains(&key) {
        return "is for the command line only".to_owned();
    }
    let is_plain = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let typed = is_plain.then(|| {
        let command = command.clone().no_binary_name(true);
        command.try_get_matches_from([format!("--{key}")]).err()
    });
    let suggested = typed
        .flatten()
        .and_then(|error| match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(name)) => Some(name.trim_start_matches('-').to_owned()),
            _ => None,
        });
    let name = command.get_name();
    match suggested {
        Some(suggested) => format!("is not an option of {name}, did you mean {suggested}?"),
        None => format!("is not an option of {name}, wanted one that multifd {name} --help lists"),
    }
}

fn long<'c>(command: &'c Command, id: &'c str) -> &'c str {
    let mut all = command.get_arguments();
    let arg = all.find(|arg| arg.get_id() == id);
    arg.and_then(|arg| arg.get_long()).unwrap_or(id)
}

/// The line of a place in a text, from 1 on.
fn line(text: &str, place: usize) -> usize {
    let before = text.as_bytes().iter().take(place);
    1 + before.filter(|byte| **byte == b'\n').count()
}
