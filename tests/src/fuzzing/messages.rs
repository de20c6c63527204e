// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is said on a return path.

use multifd_migration::stream::ReturnMessage;

/// The messages of a return path, of which nothing is wrong.
pub(super) fn all_messages(bytes: &[u8]) -> Vec<ReturnMessage> {
    let (messages, rest) = messages(bytes);
    assert!(rest.is_empty(), "{rest:?} after {messages:?}");
    messages
}

/// The messages up to the first thing that is none, and that.
pub(super) fn messages(bytes: &[u8]) -> (Vec<ReturnMessage>, &[u8]) {
    let (mut messages, mut rest) = (Vec::new(), bytes);
    while let Ok(Some((message, len))) = ReturnMessage::decode(rest) {
        messages.push(message);
        rest = rest.get(len..).unwrap_or_default();
    }
    (messages, rest)
}

/// What a destination of this project says when it runs the guest.
pub(super) const GO: u32 = u32::from_be_bytes(*b"mfGo");
