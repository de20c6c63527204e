// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How far the two sides are with giving the guest from one to the other.

use std::time::Instant;

use crate::handover;
use crate::stream::ReturnMessage;

/// The last messages of a migration, as they pass through a relay.
///
/// A QEMU's is the destination's SHUT 0. Two sides that [hand over](crate::handover) go on: the source
/// gives the guest up, and the destination says that it runs it.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    offered: bool,
    /// Both sides know of the handover.
    agreed: bool,
    /// The destination has everything.
    whole: bool,
    /// The source has given the guest up.
    released: bool,
    /// When the source was told that the destination has the guest.
    confirmed: Option<Instant>,
}

impl LastWords {
    /// Notes a PING of the source's.
    pub(super) fn ping(&mut self, value: u32) {
        self.offered |= value == handover::OFFER;
        self.released |= self.whole && value == handover::GO;
    }

    /// Notes what the destination says.
    pub(super) fn hear(&mut self, message: ReturnMessage) {
        match message {
            ReturnMessage::Pong(handover::ACCEPT) => self.agreed |= self.offered,
            ReturnMessage::Shut(0) => self.whole = true,
            _ => {}
        }
    }

    /// Whether the destination has everything.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether the destination has everything, and waits for the source to give the guest up.
    pub(super) fn waits_for_release(&self) -> bool {
        self.whole && self.agreed && !self.released
    }

    /// Whether the source has given the guest up in a handover.
    pub(super) fn is_released(&self) -> bool {
        self.released
    }

    /// Whether the guest is the destination's: the source may close its connections.
    pub(super) fn destination_has_guest(&self) -> bool {
        self.whole && (self.released || !self.agreed)
    }

    /// Whether a message is the last one of all.
    pub(super) fn is_last(&self, message: ReturnMessage) -> bool {
        match message {
            ReturnMessage::Shut(0) => !self.agreed,
            ReturnMessage::Pong(handover::GO) => self.released,
            _ => false,
        }
    }

    /// The source was told the last message.
    pub(super) fn set_confirmed(&mut self) {
        self.confirmed = Some(Instant::now());
    }

    pub(super) fn confirmed(&self) -> Option<Instant> {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_goes_over_with_shut() {
        let mut words = LastWords::default();
        // A QEMU answers with the value that it was given.
        words.ping(handover::OFFER);
        words.hear(ReturnMessage::Pong(handover::OFFER));
        assert!(!words.destination_has_guest());
        assert!(words.is_last(ReturnMessage::Shut(0)));
        words.hear(ReturnMessage::Shut(0));
        assert!(words.destination_has_guest() && !words.waits_for_release());
    }

    #[test]
    fn or_with_the_word_behind_it() {
        let mut words = LastWords::default();
        words.ping(handover::OFFER);
        words.hear(ReturnMessage::Pong(handover::ACCEPT));
        // Before everything is there it means nothing.
        words.ping(handover::GO);
        assert!(!words.is_last(ReturnMessage::Shut(0)));
        words.hear(ReturnMessage::Shut(0));
        assert!(!words.destination_has_guest() && words.waits_for_release());
        assert!(!words.is_last(ReturnMessage::Pong(handover::GO)));
        words.ping(handover::GO);
        assert!(words.destination_has_guest() && !words.waits_for_release());
        assert!(words.is_last(ReturnMessage::Pong(handover::GO)));
    }

    #[test]
    fn a_destination_agrees_to_nothing_that_was_not_offered() {
        let mut words = LastWords::default();
        words.hear(ReturnMessage::Pong(handover::ACCEPT));
        words.hear(ReturnMessage::Shut(0));
        assert!(words.destination_has_guest());
    }
}
