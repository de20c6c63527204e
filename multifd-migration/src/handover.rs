// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who runs the guest, when both sides are of this crate.
//!
//! QEMU's last message is the destination's SHUT 0: it runs the guest from then on. If that message is
//! lost, the source cannot know. Two sides of this crate make one step more:
//!
//! 1. The source opens the return path and sends PING [`OFFER`]. A QEMU answers with a PONG of the same
//!    value, a destination of this crate with PONG [`ACCEPT`]: only then is there a handover.
//! 2. The destination has everything, and sends SHUT 0. It does not run the guest yet.
//! 3. The source gives the guest up for ever, and sends PING [`GO`].
//! 4. The destination runs the guest and answers PONG [`GO`]. If it could not start it, it answers SHUT 1 and keeps it.
//!
//! If the connections break before step 3, the guest runs on at the source, for the destination never
//! gets the word. If they break after it, the source never runs the guest again. So it never runs on
//! both sides: nor does it after SHUT 1, as nobody can say from afar how far a start has come. What no protocol can rule out is that the word of step 3 is the one that is lost: then
//! the source reports that it is in doubt, and the destination that it has everything but the word.
//!
//! A destination that needs time before step 2 says so, with a PONG that says what its host [does](Work): the
//! source's guest is paused by then, and what is silent is given up.
//!
//! All of this is PING and PONG between two sides that know it; a QEMU on either side never sees more
//! than one PING of an unusual value.

use std::fmt;

#[cfg(feature = "serde")]
use serde::Serialize;

/// The source can hand over.
pub(crate) const OFFER: u32 = u32::from_be_bytes(*b"mfH?");
/// The destination can, too.
pub(crate) const ACCEPT: u32 = u32::from_be_bytes(*b"mfH!");
/// The source has given the guest up.
pub(crate) const GO: u32 = u32::from_be_bytes(*b"mfGo");

/// What a destination's host does with a guest that has come, for as long as the source waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Work {
    /// The hypervisor loads the state of the devices.
    LoadingDevices,
    /// The guest is written to a disk.
    WritingToDisk,
}

impl Work {
    /// The value of the PONG that says so.
    pub(crate) fn pong(self) -> u32 {
        match self {
            Self::LoadingDevices => u32::from_be_bytes(*b"mfWl"),
            Self::WritingToDisk => u32::from_be_bytes(*b"mfWd"),
        }
    }

    /// What a PONG of this value says, if it does.
    pub(crate) fn from_pong(value: u32) -> Option<Self> {
        [Self::LoadingDevices, Self::WritingToDisk]
            .into_iter()
            .find(|work| work.pong() == value)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LoadingDevices => "loading the devices",
            Self::WritingToDisk => "writing to disk",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_another() {
        let words = [
            OFFER,
            ACCEPT,
            GO,
            Work::LoadingDevices.pong(),
            Work::WritingToDisk.pong(),
        ];
        for (at, word) in words.iter().enumerate() {
            assert!(!words[..at].contains(word), "{word:#x}");
            assert_eq!(Work::from_pong(*word).is_some(), at > 2);
        }
    }
}
