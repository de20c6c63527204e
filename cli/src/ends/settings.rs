// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The settings of one side.

use migration_params::Settings;
use multifd_migration::{DestinationConfig, SourceConfig, Unsupported};

use crate::show::failure::Failure;

/// QEMU's defaults, but with multifd and the return path on and no limit of bandwidth, and then what
/// `--set` says.
///
/// # Errors
/// A wrong name or value, a combination that a rule forbids, or what this command does not do.
pub(crate) fn effective(set: &[String]) -> anyhow::Result<Settings> {
    let settings = parsed(set)?;
    SourceConfig::try_from(&settings).map_err(refused)?;
    check_supported(&settings)?;
    Ok(settings)
}

/// The same for a destination, which may be asked for an acknowledgement of the switchover.
///
/// # Errors
/// As [`effective`].
pub(crate) fn receiving(set: &[String]) -> anyhow::Result<Settings> {
    let settings = parsed(set)?;
    DestinationConfig::try_from(&settings).map_err(refused)?;
    check_supported(&settings)?;
    Ok(settings)
}

fn parsed(set: &[String]) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    settings.set_all(DEFAULTS)?;
    settings.set_all(set)?;
    Ok(settings)
}

/// What this command sets before `--set`.
const DEFAULTS: [&str; 3] = ["multifd=on", "return-path=on", "max-bandwidth=0"];

/// What the crate can do and this command cannot. Those that steer a running
/// guest or its switchover are taken: the guest of this command is stopped.
fn check_supported(settings: &Settings) -> Result<(), Failure> {
    let on = &settings.capabilities;
    let refused = [
        (
            on.validate_uuid,
            "validate-uuid",
            "--uuid is compared on every channel anyway",
        ),
        (
            on.pause_before_switchover,
            "pause-before-switchover",
            "there is no way to let it continue",
        ),
    ];
    match refused.iter().find(|(given, ..)| *given) {
        None => Ok(()),
        Some((_, name, why)) => Err(unsupported(name, why)),
    }
}

fn refused(setting: Unsupported) -> Failure {
    Failure::usage(setting.to_string())
}

fn unsupported(name: &str, why: &str) -> Failure {
    Failure::usage(format!("{name} is not supported by this command: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> anyhow::Result<Settings> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        effective(&texts)
    }

    #[test]
    fn the_commands_defaults_can_be_overridden() {
        let settings = set(&[]).unwrap();
        assert!(settings.capabilities.multifd && settings.capabilities.return_path);
        assert_eq!(settings.parameters.max_bandwidth.value(), 0);
        let settings = set(&["return-path=off", "max-bandwidth=1M"]).unwrap();
        assert!(!settings.capabilities.return_path);
        assert_eq!(settings.parameters.max_bandwidth.value(), 1 << 20);
    }

    #[test]
    fn nothing_is_ignored_that_would_be_missed() {
        for refused in [
            "multifd=off",
            "mode=cpr-reboot",
            "validate-uuid=on",
            "switchover-ack=on",
            "pause-before-switchover=on",
            "x-ignore-shared=on",
        ] {
            let error = set(&[refused]).unwrap_err().to_string();
            assert!(error.contains("not supported"), "{error}");
        }
        let settings = receiving(&["switchover-ack=on".to_owned()]).unwrap();
        assert!(settings.capabilities.switchover_ack);
        receiving(&["multifd=off".to_owned()]).unwrap_err();
    }
}
