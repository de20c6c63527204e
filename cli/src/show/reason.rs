// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What an error means, ahead of what was seen of it.

use std::io;

use multifd_core::{Error, PeerClosed, Side};
use multifd_migration::stream::StreamError;

use crate::show::failure::migration_error;

/// An error in one line: the side, the likely reason if there is one, and what happened where.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let all = format!("{error:#}");
    let known = error.chain().find_map(|cause| {
        let error = migration_error(cause)?;
        Some((error.to_string(), error.place().side?, reason(error)?))
    });
    let Some((happened, side, reason)) = known else {
        return all;
    };
    let side = side.to_string();
    let rest = happened.strip_prefix(&side).unwrap_or(&happened);
    let rest = rest.trim_start_matches([',', ':', ' ']);
    all.replacen(&happened, &format!("{side}: {reason}: {rest}"), 1)
}

/// Why a connection has ended that should not have: its peer knows better, and what was being read says little.
fn reason(error: &Error) -> Option<&'static str> {
    let side = error.place().side?;
    if !is_closed(error) {
        return None;
    }
    let towards_source = matches!(side, Side::Destination | Side::RelayIn);
    match towards_source {
        true => Some("the source ended or cancelled"),
        false => Some("the destination ended or refused the guest"),
    }
}

/// Whether the peer has closed a connection, of which that is the end to which this side belongs.
fn is_closed(error: &Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    if error.cause().is::<PeerClosed>() {
        return true;
    }
    let ends =
        |error: &io::Error| matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof);
    match error.cause().downcast_ref::<StreamError>() {
        Some(StreamError::Ended { .. }) => true,
        Some(StreamError::Receive { error, .. } | StreamError::Send { error, .. }) => ends(error),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use multifd_core::{ChannelCount, Fault, Place};
    use multifd_migration::stream::{Direction, Position};

    use super::*;

    const AT: Position = Position {
        direction: Direction::Main,
        offset: 7,
    };

    fn said(error: impl Into<Error>, place: Place) -> String {
        text(&error.into().at(place).into())
    }

    #[test]
    fn an_end_has_its_reason_first() {
        let ended = || StreamError::Ended {
            at: AT,
            what: "a name",
            got: 0,
            want: 1,
        };
        let lost = |kind: io::ErrorKind| StreamError::Send {
            at: AT,
            error: kind.into(),
        };
        for (side, reason) in [
            (
                Side::Destination,
                "destination: the source ended or cancelled: ",
            ),
            (
                Side::RelayIn,
                "relay, source side: the source ended or cancelled: ",
            ),
            (
                Side::RelayOut,
                "relay, destination side: the destination ended or refused the guest: ",
            ),
            (
                Side::Source,
                "source: the destination ended or refused the guest: ",
            ),
        ] {
            let text = said(ended(), Place::on(side));
            let seen = "main stream, byte 0x7: the stream ended in a name: got 0 bytes of 1";
            assert_eq!(text, format!("{reason}{seen}"));
            let text = said(lost(io::ErrorKind::BrokenPipe), Place::on(side));
            assert!(text.starts_with(reason), "{text}");
            let text = said(lost(io::ErrorKind::TimedOut), Place::on(side));
            assert!(!text.contains("ended"), "{text}");
        }
    }

    #[test]
    fn a_place_stays_behind_its_reason() {
        let mut place = Place::on(Side::Destination);
        place.channel = ChannelCount::new(2).unwrap().ids().last();
        let error = Error::new(
            Fault::Connection,
            PeerClosed::new("in the middle of a packet"),
        );
        assert_eq!(
            said(error, place.clone()),
            "destination: the source ended or cancelled: channel 1: the peer closed the connection in the middle of a \
             packet"
        );
        let error = Error::new(Fault::Connection, "silent for 60 s");
        assert_eq!(
            said(error, place),
            "destination, channel 1: silent for 60 s"
        );
    }

    #[test]
    fn what_is_around_an_error_stays() {
        let error = Error::new(Fault::Connection, PeerClosed::new("so"));
        let error = anyhow::Error::from(error.at(Place::on(Side::Source))).context("more");
        assert_eq!(
            text(&error),
            "more: source: the destination ended or refused the guest: the peer closed the connection so"
        );
    }
}
