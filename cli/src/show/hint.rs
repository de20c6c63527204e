// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What to do about an error, where that is known.

use multifd_core::wire::WireError;
use multifd_core::{Error, Fault, Side};
use multifd_migration::stream::{MessageId, Problem, StreamError};

use crate::show::failure::{Failure, guest, migration_error};
use crate::show::whereabouts::Whereabouts;

/// A sentence for the user; `None` where the error says it all.
pub(crate) fn for_error(error: &anyhow::Error) -> Option<String> {
    let guest = guest(error);
    error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.hint.clone();
        }
        let error = migration_error(cause)?;
        // First of all: what to do with the guest.
        let for_guest = guest.and_then(for_guest);
        for_guest
            .or_else(|| for_cause(error))
            .or_else(|| for_fault(error))
            .map(Into::into)
    })
}

/// What the error's cause tells.
fn for_cause(error: &Error) -> Option<&'static str> {
    let (cause, side) = (error.cause(), error.place().side);
    if let Some(wire) = cause.downcast_ref::<WireError>() {
        return match wire {
            WireError::Magic { .. } => Some(NOT_A_SOURCE),
            WireError::Uuid { .. } => Some(UUID),
            WireError::ChannelId { .. } => Some(of_side(side, CHANNELS)),
            WireError::Method { .. } => Some(of_side(side, METHOD)),
            WireError::PageSize { .. } => Some(PAGE_SIZE),
            _ => None,
        };
    }
    let stream = cause.downcast_ref::<StreamError>()?;
    let is_client = matches!(side, Some(Side::Source | Side::RelayOut));
    match stream.problem()? {
        Problem::PageBits { want: Some(_), .. } => Some(PAGE_SIZE),
        Problem::Message { got } if is_client && *got == TLS_ALERT => match side {
            Some(Side::RelayOut) => Some(TLS_BEHIND),
            _ => Some(TLS_THERE),
        },
        Problem::Message { .. } | Problem::Value { .. } if is_client => Some(NOT_A_DESTINATION),
        _ => None,
    }
}

/// What to do when one side cannot know where the guest is to run.
fn for_guest(guest: Whereabouts) -> Option<&'static str> {
    match guest {
        Whereabouts::InDoubt => Some(
            "ask the destination: if the guest runs there, or is kept there, drop it here; if it is not \
             there, it may run here again",
        ),
        Whereabouts::Kept => Some(
            "ask the source: if the guest is in doubt or gone there, `multifd release` what is kept here; if \
             it runs there, `multifd drop` it",
        ),
        Whereabouts::NotStarted => Some(
            "the source has a copy, too, which waits: start one of the two, and drop the other one",
        ),
        _ => None,
    }
}

/// What the kind of error tells.
fn for_fault(error: &Error) -> Option<&'static str> {
    let side = error.place().side?;
    match (error.fault(), side) {
        (Fault::Connection, side) => Some(of_side(Some(side), CONNECTION)),
        (Fault::Peer, Side::Source | Side::RelayOut) => Some(DESTINATION),
        _ => None,
    }
}

/// What is said to each side: options differ.
struct Sides {
    source: &'static str,
    destination: &'static str,
    relay_in: &'static str,
    relay_out: &'static str,
}

fn of_side(side: Option<Side>, sides: Sides) -> &'static str {
    match side {
        Some(Side::Destination) => sides.destination,
        Some(Side::RelayIn) => sides.relay_in,
        Some(Side::RelayOut) => sides.relay_out,
        _ => sides.source,
    }
}

const CONNECTION: Sides = Sides {
    source: "the destination, or a relay before it, may have refused the guest, ended, or not be a multifd destination: \
             see its own messages, and make sure that multifd, multifd-channels, multifd-compression and TLS are the same on both sides",
    destination: "the source may have ended or be set up differently: see its own messages, and make sure that multifd, multifd-channels, multifd-compression and TLS are the same on both sides",
    relay_in: "the source may have ended, given up or be set up differently: see its own messages, switch multifd on \
               there, and set --in multifd-channels, multifd-compression and tls-creds as it has them",
    relay_out: "the destination may have refused the guest, ended, or not listen: see its own messages, and set --out \
                multifd-channels, multifd-compression and tls-creds as it has them",
};
const CHANNELS: Sides = Sides {
    source: "set multifd-channels to the same value on both sides: --channels N",
    destination: "set multifd-channels to the same value on both sides: --channels N",
    relay_in: "set multifd-channels as the source has it: --in multifd-channels=N",
    relay_out: "set multifd-channels as the destination has it: --out multifd-channels=N",
};
const METHOD: Sides = Sides {
    source: "set multifd-compression to the same value on both sides: --compression NAME",
    destination: "set multifd-compression to the same value on both sides: --compression NAME",
    relay_in: "set multifd-compression as the source has it: --in multifd-compression=NAME",
    relay_out: "set multifd-compression as the destination has it: --out multifd-compression=NAME",
};
const NOT_A_SOURCE: &str =
    "what connected is not a QEMU or multifd source, or TLS is on at only one end";
/// An alert record, which begins so whatever the version.
const TLS_ALERT: MessageId = MessageId(0x1503);
const TLS_THERE: &str =
    "what listens there speaks TLS: use --set tls-creds=DIR here, or turn TLS off there";
const TLS_BEHIND: &str =
    "what listens there speaks TLS: use --out tls-creds=DIR here, or turn TLS off there";
const NOT_A_DESTINATION: &str = "what listens there is not a QEMU or multifd destination: check the \
                                 address";
const DESTINATION: &str = "see the destination's own messages";
const UUID: &str = "give both sides the same --uuid";
const PAGE_SIZE: &str = "give the guest's page size with --page-size";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use multifd_core::wire::{MethodId, Uuid};
    use multifd_core::{PageSize, Place};
    use multifd_migration::stream::{Direction, Position};

    use super::*;
    use crate::args::Args;

    /// An error of each kind that there is a hint for.
    fn errors() -> Vec<Error> {
        let page = PageSize::new(4096).unwrap();
        let wire = [
            WireError::Magic { got: 1 },
            WireError::Uuid {
                got: Uuid([1; 16]),
                want: Uuid([2; 16]),
            },
            WireError::ChannelId {
                got: 9,
                channels: 2,
            },
            WireError::PageSize {
                got: None,
                want: page,
            },
            WireError::Method {
                got: MethodId::NONE,
                want: MethodId::NONE,
            },
        ];
        let stream = [
            Problem::Message { got: TLS_ALERT },
            Problem::Message { got: MessageId(9) },
            Problem::PageBits {
                got: 13,
                want: Some(page),
            },
        ];
        let at = Position {
            direction: Direction::Main,
            offset: 0,
        };
        let stream = stream.map(|problem| StreamError::Peer { at, problem });
        let wire = wire.map(|error| Error::new(Fault::Peer, error));
        let plain = [Fault::Connection, Fault::Peer].map(|fault| Error::new(fault, "why"));
        let errors = wire.into_iter().chain(stream.map(Error::from));
        errors.chain(plain).collect()
    }

    /// What a hint says is to be typed.
    fn options(hint: &str) -> Vec<&str> {
        let words = hint.split(|c: char| c.is_whitespace() || ",;:=()`".contains(c));
        words.filter_map(|word| word.strip_prefix("--")).collect()
    }

    #[test]
    fn a_command_has_the_options_that_its_hints_name() {
        let mut command = Args::command();
        command.build();
        let mut named = 0;
        for (side, commands) in [
            (Side::Source, &["send", "vm"][..]),
            (Side::Destination, &["recv", "vm"]),
            (Side::RelayIn, &["relay"]),
            (Side::RelayOut, &["relay"]),
        ] {
            for error in errors() {
                let error = anyhow::Error::from(error.at(Place::on(side)));
                let hint = for_error(&error).unwrap_or_default();
                for (option, command) in options(&hint).into_iter().flat_map(|option| {
                    let commands = commands
                        .iter()
                        .map(|name| command.find_subcommand(name).unwrap());
                    commands.map(move |command| (option, command))
                }) {
                    named += 1;
                    let mut all = command.get_arguments();
                    let has = all.any(|arg| arg.get_long() == Some(option));
                    assert!(has, "{} has no --{option}: {hint}", command.get_name());
                }
            }
        }
        assert!(named > 15, "{named}");
    }

    #[test]
    fn a_relay_is_told_of_its_sides() {
        let hint = |error: WireError, side| {
            let error = Error::new(Fault::Peer, error).at(Place::on(side));
            for_error(&error.into()).unwrap()
        };
        let method = || WireError::Method {
            got: MethodId::NONE,
            want: MethodId::NONE,
        };
        let channel = WireError::ChannelId {
            got: 9,
            channels: 2,
        };
        assert!(hint(method(), Side::RelayIn).contains("--in multifd-compression="));
        assert!(hint(method(), Side::RelayOut).contains("--out multifd-compression="));
        assert!(hint(channel, Side::RelayIn).contains("--in multifd-channels="));
        assert!(hint(method(), Side::Source).contains("--compression NAME"));
    }
}
