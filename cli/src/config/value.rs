// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A value of TOML as what would be typed on the command line.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use crate::args::pair;

/// What is wrong, and where, if that is not the key's own place.
pub(super) type Wrong = (Option<usize>, String);

/// Options that say which file is read, or what to do with it.
pub(super) const NOT_IN_FILES: [&str; 2] = ["config", "check-config"];

/// Whether it may be in a file.
pub(super) fn is_option(arg: &Arg) -> bool {
    let is_known = matches!(
        arg.get_action(),
        ArgAction::Set | ArgAction::Append | ArgAction::SetTrue
    );
    let long = arg.get_long();
    is_known && long.is_some_and(|long| !NOT_IN_FILES.contains(&long))
}

/// Whether its values are pairs of a name and something else, of which each name counts for itself.
pub(super) fn is_of_pairs(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) && value_name(arg).contains('=')
}

/// The values of an option, each with its place; nothing stands for the option alone.
///
/// # Errors
/// The option does not take such a value.
pub(super) fn texts(
    arg: &Arg,
    content: &Spanned<DeValue<'_>>,
) -> Result<Vec<(usize, Option<String>)>, Wrong> {
    if let (ArgAction::SetTrue, value) = (arg.get_action(), content.get_ref()) {
        let place = content.span().start;
        return match value {
            DeValue::Boolean(true) => Ok(vec![(place, None)]),
            DeValue::Boolean(false) => Ok(Vec::new()),
            _ => Err(of_type(arg, content)),
        };
    }
    let is_many = matches!(arg.get_action(), ArgAction::Append);
    let values = match content.get_ref() {
        DeValue::Array(all) if is_many => all
            .iter()
            .map(|value| Ok((value.span().start, text(arg, value)?)))
            .collect::<Result<Vec<_>, Wrong>>()?,
        DeValue::Table(all) if is_of_pairs(arg) => {
            let mut all: Vec<_> = all.iter().collect();
            all.sort_by_key(|(name, _)| name.span().start);
            let pairs = all.into_iter().map(|(name, value)| {
                let text = text(arg, value)?;
                Ok((name.span().start, format!("{}={text}", name.get_ref())))
            });
            pairs.collect::<Result<Vec<_>, Wrong>>()?
        }
        _ => vec![(content.span().start, text(arg, content)?)],
    };
    for (place, text) in &values {
        check(arg, text)
            .map_err(|why| (Some(*place), format!("{text:?} cannot be used: {why}")))?;
    }
    if is_of_pairs(arg) {
        check_names(&values)?;
    }
    Ok(values
        .into_iter()
        .map(|(place, text)| (place, Some(text)))
        .collect())
}

/// One value.
fn text(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => integer(number).ok_or_else(|| of_type(arg, value)),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        // As QEMU writes it.
        DeValue::Boolean(is_on) if is_of_pairs(arg) || check(arg, "on").is_ok() => {
            Ok(if *is_on { "on" } else { "off" }.to_owned())
        }
        _ => Err(of_type(arg, value)),
    }
}

fn integer(number: &DeInteger<'_>) -> Option<String> {
    match number.radix() {
        10 => Some(number.as_str().to_owned()),
        radix => i64::from_str_radix(number.as_str(), radix)
            .ok()
            .map(|number| number.to_string()),
    }
}

/// Asks who reads the option's value on the command line.
fn check(arg: &Arg, text: &str) -> Result<(), String> {
    let same = Arg::new("value")
        .long("value")
        .value_parser(arg.get_value_parser().clone());
    let command = Command::new("check").no_binary_name(true).arg(same);
    let checked = command.try_get_matches_from([format!("--value={text}")]);
    checked.map(drop).map_err(|error| {
        if let Some(why) = error.source() {
            return why.to_string();
        }
        match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(all)) => format!("wanted one of {}", all.join(", ")),
            _ => format!("wanted {}", value_name(arg)),
        }
    })
}

/// A name that is given twice would have two values.
fn check_names(values: &[(usize, String)]) -> Result<(), Wrong> {
    for (at, (place, text)) in values.iter().enumerate() {
        let (name, _) = pair(text);
        if values
            .iter()
            .take(at)
            .any(|(_, earlier)| pair(earlier).0 == name)
        {
            return Err((Some(*place), format!("{name} is given twice, wanted once")));
        }
    }
    Ok(())
}

fn of_type(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Wrong {
    let name = value_name(arg);
    let wanted = match arg.get_action() {
        ArgAction::SetTrue => "true or false".to_owned(),
        ArgAction::Append if is_of_pairs(arg) => format!("a table of {}", name.replace('=', " = ")),
        ArgAction::Append => format!("{name}, or an array of them"),
        _ => format!("one {name}"),
    };
    let got = value.get_ref().type_str();
    (
        Some(value.span().start),
        format!("got a value of type {got}, wanted {wanted}"),
    )
}

fn value_name(arg: &Arg) -> String {
    let mut names = arg.get_value_names().unwrap_or_default().iter();
    names
        .next()
        .map_or_else(|| "a value".to_owned(), ToString::to_string)
}
