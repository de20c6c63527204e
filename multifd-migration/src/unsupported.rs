// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Settings that would be without the effect that they promise.

use std::fmt;

use migration_params::{Mode, Settings};

/// A parameter or capability of QEMU's that this crate does not do. Whoever took it in silence would promise something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsupported {
    /// What was set: `multifd=off`.
    pub setting: &'static str,
    /// Why that cannot be.
    pub why: &'static str,
}

/// Refuses what a source cannot do.
pub(crate) fn at_source(settings: &Settings) -> Result<(), Unsupported> {
    on_both_sides(settings)?;
    let on = &settings.capabilities;
    refuse_first(&[
        (
            on.switchover_ack,
            "switchover-ack=on",
            "a source here does not wait for that message; a destination can send it",
        ),
        (
            on.zero_copy_send,
            "zero-copy-send=on",
            "pages are copied by the kernel",
        ),
        (
            on.dirty_limit,
            "dirty-limit=on",
            "auto-converge is what slows a guest down",
        ),
    ])
}

/// Refuses what a destination cannot do.
pub(crate) fn at_destination(settings: &Settings) -> Result<(), Unsupported> {
    on_both_sides(settings)
}

fn on_both_sides(settings: &Settings) -> Result<(), Unsupported> {
    let (parameters, on) = (&settings.parameters, &settings.capabilities);
    refuse_first(&[
        (
            !on.multifd,
            "multifd=off",
            "pages go over multifd channels only",
        ),
        (
            parameters.mode != Mode::Normal,
            "mode",
            "only normal migration is",
        ),
        (
            on.x_ignore_shared,
            "x-ignore-shared=on",
            "all memory is sent",
        ),
        (
            on.postcopy_ram,
            "postcopy-ram=on",
            "all memory is sent before the guest runs at the destination",
        ),
        (
            on.mapped_ram,
            "mapped-ram=on",
            "it is a file format, and this is a stream",
        ),
        (on.xbzrle, "xbzrle=on", "it does not go with multifd"),
        (
            on.background_snapshot,
            "background-snapshot=on",
            "it does not go with multifd",
        ),
    ])
}

fn refuse_first(known: &[(bool, &'static str, &'static str)]) -> Result<(), Unsupported> {
    match known.iter().find(|(is_set, ..)| *is_set) {
        None => Ok(()),
        Some(&(_, setting, why)) => Err(Unsupported { setting, why }),
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not supported: {}", self.setting, self.why)
    }
}

impl std::error::Error for Unsupported {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DestinationConfig, SourceConfig};

    fn set(text: &str) -> Settings {
        let mut settings = Settings::default();
        settings.set("multifd=on").unwrap();
        settings.set(text).unwrap();
        settings
    }

    #[test]
    fn nothing_is_taken_in_silence() {
        for (text, is_receivers) in [
            ("multifd=off", false),
            ("mode=cpr-reboot", false),
            ("x-ignore-shared=on", false),
            ("mapped-ram=on", false),
            ("switchover-ack=on", true),
        ] {
            let mut settings = set("return-path=on");
            if settings.set(text).is_err() {
                settings = set(text);
            }
            let refused = SourceConfig::try_from(&settings).unwrap_err();
            let name = text.split('=').next().unwrap();
            assert!(refused.to_string().starts_with(name), "{refused}");
            let received = DestinationConfig::try_from(&settings);
            assert_eq!(received.is_ok(), is_receivers, "{text}");
        }
    }

    #[test]
    fn what_is_set_has_an_effect() {
        let source = SourceConfig::try_from(&set("validate-uuid=on")).unwrap();
        assert!(source.validate_uuid && !source.pause_before_switchover);
        let source = SourceConfig::try_from(&set("auto-converge=on")).unwrap();
        assert!(source.auto_converge.is_some());
        let received = DestinationConfig::try_from(&set("multifd-channels=7")).unwrap();
        assert_eq!(received.receiver.channels.count(), 7);
    }
}
