// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parameters and capabilities, as text and as JSON.

use std::fmt::Debug;

use anyhow::Result;
use migration_params::{
    Capabilities, CapabilitiesUpdate, ParamError, Parameters, ParametersUpdate, Settings,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Target;
use super::text::{check_error, check_line};

/// One assignment in each line; or QMP's object of parameters, or its list of capabilities.
pub(super) const SETTINGS: Target = Target {
    name: "settings",
    run: |bytes| {
        let is_json = [
            round_trip::<ParametersUpdate>(bytes),
            round_trip::<Parameters>(bytes),
            round_trip::<CapabilitiesUpdate>(bytes),
            round_trip::<Capabilities>(bytes),
        ];
        let is_text = std::str::from_utf8(bytes).is_ok_and(assign);
        is_text || is_json.contains(&true)
    },
    seeds: || {
        Ok(SEEDS
            .iter()
            .map(|seed| seed.as_bytes().to_vec())
            .chain([all()?])
            .collect())
    },
};

/// Answers whether all lines are assignments that go together.
fn assign(text: &str) -> bool {
    let mut settings = Settings::default();
    for line in text.lines().take(MOST_LINES) {
        let before = settings.clone();
        if let Err(error) = settings.set(line) {
            check_error(&error);
            assert_eq!(settings, before, "{error}, and yet it has changed");
        }
    }
    let printed = settings.to_string();
    printed.lines().for_each(check_line);
    // What is printed can be set again.
    let again = set_all(
        settings
            .entries()
            .map(|(name, value)| format!("{name}={value}")),
    );
    assert_eq!(again.as_ref(), Ok(&settings), "{printed}");
    let printed = set_all(printed.lines());
    assert_eq!(printed.as_ref(), Ok(&settings));
    let at_once = set_all(text.lines().take(MOST_LINES));
    at_once.is_ok()
}

fn set_all<T: AsRef<str>>(lines: impl Iterator<Item = T>) -> Result<Settings, ParamError> {
    let mut settings = Settings::default();
    settings.set_all(lines)?;
    Ok(settings)
}

/// Answers whether it is JSON of these.
fn round_trip<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> bool {
    // What serde says of an error may quote anything: who prints it has to escape it.
    let Ok(read) = serde_json::from_slice::<T>(bytes) else {
        return false;
    };
    let written = serde_json::to_vec(&read);
    let again = written
        .ok()
        .and_then(|json| serde_json::from_slice::<T>(&json).ok());
    assert_eq!(again.as_ref(), Some(&read));
    true
}

/// All that can be set, with its default.
fn all() -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Parameters::default())?)
}

const MOST_LINES: usize = 64;
const SEEDS: [&str; 6] = [
    "multifd=on\nmultifd-channels=8\nmultifd-compression zstd\nmultifd-zstd-level: 20",
    "max-bandwidth=1.5G\ndowntime-limit 300\nmax-bandwidth 100\navail-switchover-bandwidth=0x10",
    "tls-creds='a b'\ntls-hostname=\"\"\nxbzrle-cache-size=64M\nmode=normal\nzero-page-detection=legacy",
    "auto-converge=on\ncpu-throttle-initial=10\ncpu-throttle-tailslow=yes\nannounce-max 550 ms",
    r#"{"multifd-channels":4,"max-bandwidth":1048576,"tls-creds":"x","cpu-throttle-tailslow":true,"mode":"normal"}"#,
    r#"[{"capability":"multifd","state":true},{"capability":"return-path","state":false}]"#,
];
