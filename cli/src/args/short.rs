// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Options that are short forms of settings.

use migration_params::{Compression, SettingsUpdate};

use super::side::pair;
use crate::show::failure::Failure;

/// What both sides need alike.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShortArgs {
    /// The compression method: short for --set multifd-compression; the same on both sides
    /// [default: none]
    #[arg(long, value_name = "NAME", value_parser = method)]
    compression: Option<Compression>,
    /// Number of channels: short for --set multifd-channels; the same on both sides [default: 2]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    channels: Option<u8>,
}

/// An option, the setting that it is short for, and the value that was given.
pub(crate) type Short = (&'static str, &'static str, Option<String>);

impl ShortArgs {
    pub(super) fn given(&self) -> [Short; 2] {
        let compression = self.compression.map(|method| method.to_string());
        let channels = self.channels.map(|count| count.to_string());
        [
            ("--compression", "multifd-compression", compression),
            ("--channels", "multifd-channels", channels),
        ]
    }
}

/// The settings in `set`, and behind them what the short forms add.
///
/// # Errors
/// A setting has one value by its name, and another by its short form.
pub(super) fn with_short_forms(set: &[String], short: &[Short]) -> Result<Vec<String>, Failure> {
    let mut all = set.to_vec();
    for (option, name, value) in short {
        let Some(value) = value else {
            continue;
        };
        let setting = format!("{name}={value}");
        let mut named = set.iter().filter(|text| pair(text.trim()).0 == *name);
        if let Some(other) = named.next_back().filter(|other| differ(other, &setting)) {
            let what = format!("{option} {value} contradicts --set {other:?}: give one of them");
            return Err(Failure::usage(what));
        }
        all.push(setting);
    }
    Ok(all)
}

/// What is no setting is refused where it is read.
fn differ(one: &str, other: &str) -> bool {
    let update = |text: &str| text.parse::<SettingsUpdate>().ok();
    update(one).is_some_and(|one| Some(one) != update(other))
}

fn method(text: &str) -> Result<Compression, String> {
    let names = Compression::ALL.iter().map(|method| method.name());
    let names = names.collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_| format!("wanted one of {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[&str], channels: &str) -> Result<Vec<String>, String> {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        let short = ("--channels", "multifd-channels", Some(channels.to_owned()));
        with_short_forms(&set, &[short]).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_short_form_adds_its_setting_and_nothing_else() {
        let none = ("--channels", "multifd-channels", None);
        let set = ["max-bandwidth=1G".to_owned()];
        assert_eq!(with_short_forms(&set, &[none]).unwrap(), set);
        let want = ["max-bandwidth=1G", "multifd-channels=4"];
        assert_eq!(with(&["max-bandwidth=1G"], "4").unwrap(), want);
    }

    #[test]
    fn two_values_of_a_setting_are_refused() {
        for set in [
            &["multifd-channels=8"][..],
            &["multifd-channels 4", " multifd-channels: 8"],
        ] {
            let said = with(set, "4").unwrap_err();
            assert!(
                said.starts_with("--channels 4 contradicts --set "),
                "{said}"
            );
        }
        for same in [
            &["multifd-channels=4"][..],
            &["multifd-channels=0x4"],
            &["multifd-channels=8", "multifd-channels: 4"],
            // It is refused for itself.
            &["multifd-channels=x"],
        ] {
            with(same, "4").unwrap();
        }
    }
}
