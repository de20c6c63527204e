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
    let cause = error.cause();
    if let Some(wire) = cause.downcast_ref::<WireError>() {
        return match wire {
            WireError::Magic { .. } => Some(NOT_A_SOURCE),
            WireError::Uuid { .. } => Some("give both sides the same --uuid"),
            WireError::ChannelId { .. } => Some(CHANNELS),
            WireError::Method { .. } => Some(METHOD),
            WireError::PageSize { .. } => Some(PAGE_SIZE),
            _ => None,
        };
    }
    let stream = cause.downcast_ref::<StreamError>()?;
    match (error.place().side, stream.problem()) {
        (_, Some(Problem::PageBits { want: Some(_), .. })) => Some(PAGE_SIZE),
        (Some(Side::Source), Some(Problem::Message { got })) if *got == TLS_ALERT => {
            Some(TLS_THERE)
        }
        (Some(Side::Source), Some(Problem::Message { .. } | Problem::Value { .. })) => {
            Some(NOT_A_DESTINATION)
        }
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
    match (error.fault(), error.place().side?) {
        (Fault::Connection, Side::Source) => Some(
            "the destination may have refused the guest, ended, or be no multifd destination: see \
             its own messages, and set multifd, multifd-channels, multifd-compression and TLS alike on \
             both sides",
        ),
        (Fault::Connection, Side::Destination) => Some(
            "the source may have ended or be set up differently: see its own messages, and set \
             multifd, multifd-channels, multifd-compression and TLS alike on both sides",
        ),
        (Fault::Connection, Side::RelayIn) => Some(
            "the source may have ended, given up or be set up differently: see its own messages, and \
             set --in multifd-channels, multifd-compression and tls-creds as it has them",
        ),
        (Fault::Connection, Side::RelayOut) => Some(
            "the destination may have refused the guest, ended, or not listen: see its own messages, \
             and set --out multifd-channels, multifd-compression and tls-creds as it has them",
        ),
        (Fault::Peer, Side::RelayOut) => Some("see the destination's own messages"),
        (Fault::Peer, Side::Source) => Some("see the destination's own messages"),
        _ => None,
    }
}

const NOT_A_SOURCE: &str =
    "what connected is no QEMU or multifd source, or TLS is on at one side only";
/// An alert record, which begins so whatever the version.
const TLS_ALERT: MessageId = MessageId(0x1503);
const TLS_THERE: &str =
    "what listens there answers with TLS: --tls-dir DIR, or tls-creds off there";
const NOT_A_DESTINATION: &str = "what listens there is no QEMU or multifd destination: check the \
                                 address";
const CHANNELS: &str = "set multifd-channels alike on both sides: --set multifd-channels=N";
const PAGE_SIZE: &str = "give --page-size with the size that the guest has";
const METHOD: &str = "set multifd-compression alike on both sides: --set multifd-compression=NAME";
