// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One packet, tried with a session of the library.

use multifd_core::method::Fallback;
use qatzip_sys::{Buffer, Code, Error, Session};

use crate::shape::{Shape, checksums_match};

/// What a session has to do with the first `len` bytes of its input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Make members of it.
    Compress,
    /// Make exactly so many bytes of members. The library compares the checksums with those of a device ..
    Decompress(usize),
    /// .. but its software may overlook them.
    DecompressChecked(usize),
}

/// What a session did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// Bytes at the front of the output.
    pub(crate) len: usize,
    /// Whether a session without software can have left it to software all the same.
    pub(crate) is_of_software: bool,
}

/// Why a packet was not done.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) reason: Fallback,
    pub(crate) what: String,
    /// Whether this session is not to be used any more.
    pub(crate) is_lost: bool,
}

impl Trouble {
    /// The session failed, and is not to be used any more.
    pub(crate) fn lost(what: impl Into<String>) -> Self {
        Self {
            reason: Fallback::Failed,
            what: what.into(),
            is_lost: true,
        }
    }

    /// There is none to be had.
    pub(crate) fn no_device(what: impl Into<String>) -> Self {
        Self {
            reason: Fallback::NoDevice,
            what: what.into(),
            is_lost: true,
        }
    }

    /// It does not take this packet.
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self {
            reason: Fallback::Unsupported,
            what: what.into(),
            is_lost: false,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let (reason, is_lost) = match error.code() {
            Some(Code::NOSW_NO_INST_ATTACH) => (Fallback::Busy, false),
            Some(Code::BUF_ERROR) => (Fallback::NoRoom, false),
            Some(Code::NOSW_UNSUPPORTED_FMT) => (Fallback::Unsupported, false),
            // The payload's fault rather than the device's.
            Some(Code::DATA_ERROR) => (Fallback::Failed, false),
            Some(Code::NOSW_NO_HW | Code::NOSW_NO_MDRV | Code::NOSW_LOW_MEM) => {
                (Fallback::NoDevice, true)
            }
            _ => (Fallback::Failed, true),
        };
        Self {
            reason,
            what: error.to_string(),
            is_lost,
        }
    }
}

/// Does it, and looks at what came out.
///
/// # Errors
/// Why it was not done; lost also if the device may still be at work.
pub(crate) fn attempt(
    session: &mut Session,
    work: Work,
    input: &Buffer,
    len: usize,
    output: &mut Buffer,
) -> Result<Made, Trouble> {
    let done = match work {
        Work::Compress => compress(session, input, len, output),
        Work::Decompress(room) => decompress(session, input, len, output, room),
        Work::DecompressChecked(room) => decompress(session, input, len, output, room)
            .and_then(|made| check(session, input, len, output, made)),
    };
    done.map_err(|mut trouble| {
        trouble.is_lost |= session.is_abandoned();
        trouble
    })
}

/// What is sent is only QATzip's form, with all of the content.
fn compress(
    session: &mut Session,
    content: &Buffer,
    len: usize,
    members: &mut Buffer,
) -> Result<Made, Trouble> {
    let written = session.compress(content, len, members)?;
    match Shape::of(members.get(..written).unwrap_or_default()) {
        Ok(shape) if shape.content == len => Ok(Made {
            len: written,
            is_of_software: !shape.is_of_device(),
        }),
        _ => Err(Trouble::lost(
            "qzCompress: members that are not of the content",
        )),
    }
}

fn decompress(
    session: &mut Session,
    members: &Buffer,
    len: usize,
    content: &mut Buffer,
    room: usize,
) -> Result<Made, Trouble> {
    session.decompress(members, len, content, room)?;
    Ok(Made {
        len: room,
        is_of_software: false,
    })
}

/// Compares the checksums of what was made.
fn check(
    session: &mut Session,
    members: &Buffer,
    len: usize,
    content: &Buffer,
    made: Made,
) -> Result<Made, Trouble> {
    let payload = members.get(..len).unwrap_or_default();
    if checksums_match(payload, content.get(..made.len).unwrap_or_default()) {
        return Ok(made);
    }
    session.reset();
    Err(Trouble {
        reason: Fallback::Failed,
        what: "qzDecompress: content that has another checksum".to_owned(),
        is_lost: false,
    })
}
