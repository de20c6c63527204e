// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What to set, ready to be pasted.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::choice::Choice;
use crate::lab::measurement::level_setting;

/// The same settings for this command, for QEMU's monitor, and for QMP. Both sides get them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Arguments of `multifd send` and `recv`.
    pub(crate) arguments: String,
    /// Commands of QEMU's monitor.
    pub(crate) hmp: Vec<String>,
    /// QMP commands.
    pub(crate) qmp: Vec<Value>,
}

impl Settings {
    /// `bandwidth` is in bytes per second, 0 without a limit; QEMU's default is 128 MiB/s. The limit of the
    /// downtime is in milliseconds.
    pub(crate) fn of(choice: &Choice, bandwidth: u64, downtime_limit: u64) -> Self {
        let mut parameters = vec![
            ("multifd-compression".to_owned(), json!(choice.method)),
            ("multifd-channels".to_owned(), json!(choice.channels)),
        ];
        if let Some(level) = choice.level {
            let name = level_setting(&choice.method, level);
            let name = name.split('=').next().unwrap_or_default();
            parameters.push((name.to_owned(), json!(level)));
        }
        let for_both = parameters.iter();
        let arguments: Vec<_> = for_both
            .map(|(name, value)| format!("--set {name}={}", plain(value)))
            .collect();
        parameters.push(("max-bandwidth".into(), json!(bandwidth)));
        if downtime_limit != USUAL_LIMIT {
            parameters.push(("downtime-limit".into(), json!(downtime_limit)));
        }
        let mut hmp = vec!["migrate_set_capability multifd on".to_owned()];
        hmp.extend(parameters.iter().map(|(name, value)| {
            let mut line = format!("migrate_set_parameter {name} {}", plain(value));
            if name == "max-bandwidth" && bandwidth > 0 {
                // The monitor takes MiB unless it is told otherwise.
                let _ = write!(line, "B");
            }
            line
        }));
        let parameters: Map<_, _> = parameters.into_iter().collect();
        Self {
            arguments: arguments.join(" "),
            hmp,
            qmp: vec![
                json!({
                    "execute": "migrate-set-capabilities",
                    "arguments": {"capabilities": [{"capability": "multifd", "state": true}]},
                }),
                json!({"execute": "migrate-set-parameters", "arguments": parameters}),
            ],
        }
    }
}

/// QEMU's default, in milliseconds.
const USUAL_LIMIT: u64 = 300;

/// A QMP command as people write it, the command first.
pub(crate) fn qmp_line(command: &Value) -> String {
    let (execute, arguments) = (&command["execute"], &command["arguments"]);
    format!("{{\"execute\": {execute}, \"arguments\": {arguments}}}")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_say_the_same() {
        let choice = Choice {
            method: "zstd".into(),
            level: Some(3),
            channels: 4,
            why: vec![],
        };
        let settings = Settings::of(&choice, 1_250_000_000, 500);
        let want =
            "--set multifd-compression=zstd --set multifd-channels=4 --set multifd-zstd-level=3";
        assert_eq!(settings.arguments, want);
        // The command takes what it is told to paste.
        let pairs = settings.arguments.split("--set ").map(str::trim);
        let pairs: Vec<_> = pairs
            .filter(|pair| !pair.is_empty())
            .map(String::from)
            .collect();
        crate::ends::settings::effective(&pairs).unwrap();
        assert_eq!(
            settings.hmp,
            [
                "migrate_set_capability multifd on",
                "migrate_set_parameter multifd-compression zstd",
                "migrate_set_parameter multifd-channels 4",
                "migrate_set_parameter multifd-zstd-level 3",
                "migrate_set_parameter max-bandwidth 1250000000B",
                "migrate_set_parameter downtime-limit 500",
            ]
        );
        let arguments = &settings.qmp[1]["arguments"];
        assert_eq!(arguments["multifd-channels"], 4);
        assert_eq!(arguments["max-bandwidth"], 1_250_000_000_u64);
        assert_eq!(arguments["multifd-zstd-level"], 3);
        let line = qmp_line(&settings.qmp[1]);
        assert!(
            line.starts_with("{\"execute\": \"migrate-set-parameters\""),
            "{line}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            settings.qmp[1]
        );
        let none = Choice {
            method: "none".into(),
            level: None,
            ..choice
        };
        let settings = Settings::of(&none, 0, 300);
        assert!(!settings.arguments.contains("level"), "{settings:?}");
        assert_eq!(settings.qmp[1]["arguments"]["max-bandwidth"], 0);
        assert_eq!(
            settings.hmp.last().unwrap(),
            "migrate_set_parameter max-bandwidth 0"
        );
    }
}
