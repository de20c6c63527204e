// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a parameter or capability does in this command.

use std::fmt;

use migration_params::Known;

use crate::ends::settings;

/// What becomes of a value that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// These commands do what it says.
    Used(&'static [&'static str]),
    /// Nothing but its default is taken.
    Refused(String),
    /// It is taken, and does nothing.
    None,
}

impl Effect {
    /// What becomes of a value other than `default`.
    pub(super) fn of(known: &Known, default: &str) -> Self {
        let mut used = USED.iter().filter(|(names, _)| names.contains(&known.name));
        if let Some((_, commands)) = used.next() {
            return Self::Used(commands);
        }
        let other = match known.name {
            "mode" => "cpr-reboot",
            _ if default == "on" => "off",
            _ => "on",
        };
        let is_asked = known.kind == "bool" || known.name == "mode";
        let setting = format!("{}={other}", known.name);
        match settings::effective(&[setting]) {
            Err(error) if is_asked => Self::Refused(format!("{error:#}")),
            _ => Self::None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Used(_) => "used",
            Self::Refused(_) => "refused",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(commands) => write!(f, "used by {}", commands.join(", ")),
            Self::Refused(why) => write!(f, "other values are refused ({why})"),
            Self::None => f.write_str("no effect"),
        }
    }
}

/// Who does what these say.
const USED: &[(&[&str], &[&str])] = &[
    (
        &["multifd-channels", "multifd-compression", "tls-creds"],
        &["send", "recv", "relay --in", "relay --out"],
    ),
    (
        &[
            "multifd-zlib-level",
            "multifd-zstd-level",
            "multifd-qatzip-level",
            "zero-page-detection",
        ],
        &["send", "relay --out", "demo"],
    ),
    (&["tls-hostname"], &["send", "relay --out"]),
    (&["tls-authz"], &["recv", "relay --in"]),
    (
        &["max-bandwidth"],
        &["send", "relay --in", "relay --out", "tune"],
    ),
    (&["return-path"], &["send", "demo"]),
    (&["switchover-ack"], &["recv"]),
    (
        &[
            "auto-converge",
            "avail-switchover-bandwidth",
            "cpu-throttle-increment",
            "cpu-throttle-initial",
            "cpu-throttle-tailslow",
            "downtime-limit",
            "max-cpu-throttle",
            "throttle-trigger-threshold",
        ],
        &["demo"],
    ),
];

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use migration_params::{Settings, known};
    use multifd_migration::{DestinationConfig, SourceConfig, method_options};

    use super::*;
    use crate::args::Args;

    fn effect(name: &str) -> Effect {
        let found = known().find(|known| known.name == name);
        let default = if name == "multifd" { "on" } else { "off" };
        Effect::of(&found.unwrap(), default)
    }

    /// Whether a side of a relay takes it.
    fn a_relay_takes(side: &str, set: &str) -> bool {
        Args::try_parse_from(["multifd", "relay", "--to=unix:/x", side, set]).is_ok()
    }

    /// Values that can be set, and are not the default.
    fn other(name: &str) -> Option<&'static str> {
        Some(match name {
            "multifd-compression" => "zstd",
            "zero-page-detection" => "none",
            "mode" => "cpr-reboot",
            "tls-creds" | "tls-hostname" | "tls-authz" => "x",
            "return-path" | "multifd" => "off",
            "xbzrle-cache-size" => "8192",
            "max-cpu-throttle" => "77",
            name => {
                let found = known().find(|known| known.name == name)?;
                if found.kind == "bool" { "on" } else { "7" }
            }
        })
    }

    /// All that the commands make of settings, but for TLS.
    fn made_of(settings: &Settings) -> String {
        let parameters = &settings.parameters;
        let source = SourceConfig::try_from(settings);
        let source = source.map(|source| (source.tuning, source.auto_converge, source));
        let destination = DestinationConfig::try_from(settings);
        let options = method_options(parameters);
        let method = parameters.multifd_compression;
        let return_path = settings.capabilities.return_path;
        format!("{source:?} {destination:?} {options:?} {method} {return_path}")
    }

    #[test]
    fn what_has_no_effect_changes_nothing() {
        let usual = settings::effective(&["auto-converge=on".into()]).unwrap();
        for known in known() {
            let name = known.name;
            let set = format!("{name}={}", other(name).unwrap());
            let mut settings = usual.clone();
            let is_set = settings.set(&set).is_ok();
            let changes = made_of(&settings) != made_of(&usual);
            match effect(name) {
                // It is on already.
                Effect::Used(_) if name == "auto-converge" => {}
                Effect::Used(commands) => {
                    let is_tls = name.starts_with("tls-");
                    assert!(is_set && (changes || is_tls), "{set} changes nothing");
                    for (side, arg) in [("relay --in", "--in"), ("relay --out", "--out")] {
                        // Both sides may be given the same levels.
                        let is_level = name.ends_with("-level") && arg == "--in";
                        let is_used = commands.contains(&side);
                        assert!(
                            is_used == a_relay_takes(arg, &set) || is_level,
                            "{set}: {side}"
                        );
                    }
                }
                Effect::None => {
                    assert!(is_set && !changes, "{set} changes something");
                    settings::effective(&[set]).unwrap();
                }
                Effect::Refused(why) => {
                    assert!(!why.is_empty());
                    settings::effective(&[set]).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn every_name_in_the_table_is_known() {
        let names = USED.iter().flat_map(|(names, _)| *names);
        for name in names {
            assert!(matches!(effect(name), Effect::Used(_)), "{name}");
        }
        assert!(matches!(effect("mapped-ram"), Effect::Refused(_)));
        assert!(matches!(effect("multifd"), Effect::Refused(_)));
        assert_eq!(effect("announce-max"), Effect::None);
    }
}
