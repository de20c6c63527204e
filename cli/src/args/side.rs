// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMU's parameters of one side of a relay, on the command line.

use migration_params::SettingsUpdate;

/// A parameter of the source's side.
pub(super) fn incoming(text: &str) -> Result<String, String> {
    checked(text, &IN)
}

/// A parameter of the destination's side.
pub(super) fn outgoing(text: &str) -> Result<String, String> {
    checked(text, &OUT)
}

/// What a relay does for each side. The levels have no effect on the source's side, but a user may give
/// both sides the same settings, as QEMU takes them.
const BOTH: [&str; 7] = [
    "multifd-compression",
    "multifd-channels",
    "multifd-zlib-level",
    "multifd-zstd-level",
    "multifd-qatzip-level",
    "max-bandwidth",
    "tls-creds",
];
const IN: [&str; 1] = ["tls-authz"];
const OUT: [&str; 2] = ["zero-page-detection", "tls-hostname"];

/// Everything else is a matter of source and destination.
fn checked(text: &str, own: &[&str]) -> Result<String, String> {
    text.parse::<SettingsUpdate>()
        .map_err(|error| error.to_string())?;
    let (name, _) = pair(text);
    let known = [&BOTH, own].concat();
    if !known.contains(&name) {
        let known = known.join(", ");
        return Err(format!(
            "{name} is not for a relay: source and destination decide; wanted one of {known}"
        ));
    }
    Ok(text.to_owned())
}

/// The name of a setting, and what it is to be; there is more than one way to write it.
pub(crate) fn pair(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c == '=' || c == ':' || c.is_whitespace());
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, value.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_parameters_of_its_own() {
        for (text, is_in, is_out) in [
            ("multifd-channels=4", true, true),
            ("multifd-channels: 4", true, true),
            ("tls-authz=CN=a", true, false),
            ("tls-hostname=a", false, true),
            ("zero-page-detection=none", false, true),
            ("downtime-limit=5", false, false),
            ("multifd-chanels=4", false, false),
            ("multifd-channels=0", false, false),
        ] {
            assert_eq!(incoming(text).is_ok(), is_in, "{text}");
            assert_eq!(outgoing(text).is_ok(), is_out, "{text}");
        }
        for (text, words) in [
            ("downtime-limit=5", "wanted one of multifd-compression"),
            ("multifd-chanels=4", "did you mean 'multifd-channels'?"),
        ] {
            let said = incoming(text).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
