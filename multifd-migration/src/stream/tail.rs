// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What comes after RAM: the device state, the end mark, and the VM description.
//!
//! | size | field |
//! |---|---|
//! | .. | END sections of devices that have sent some of their state [before](super::EarlySection) |
//! | .. | FULL sections, one for each device |
//! | 1 | EOF, `0x00` |
//! | 1 | `0x06` |
//! | 4 + n | VM description, JSON |
//!
//! Device state is opaque to a receiver that is not the machine itself, and nothing says how long it
//! is, but for the description at its end.

use std::io;
use std::ops::Range;

use super::device::{DeviceSection, SectionInfo};
use super::end::{EndFinder, Found};
use super::section::{self, SectionHeader, SectionType};
use super::{Problem, Reader, StreamError, Writer};

/// All that came after RAM's last footer.
///
/// # How its end is found
///
/// Without a return path the source closes the connection behind the last byte. With a return path it
/// keeps it open, and there the end is a VM description, behind which nothing has come, and whose
/// sizes of sections lead from RAM's last footer to the description exactly. The description alone
/// would not do: its bytes may stand in a device's state, too.
///
/// So a source with a return path and without a VM description (QEMU's machine property
/// `suppress-vmdesc`) can only be received up to the transport's time limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The bytes, to be given to a destination as they are.
    pub bytes: Vec<u8>,
    /// Where in [`bytes`](Self::bytes) the text of the VM description is; empty if it is an empty one.
    /// `None` if there is none: then the source sends none, or the stream was cut short, and nothing
    /// can tell which.
    pub description: Option<Range<usize>>,
    /// The sections, if the description leads through them exactly.
    pub sections: Option<Vec<SectionInfo>>,
}

/// Most bytes of a tail. Emulated machines have up to a few MiB, passed-through devices more.
pub const MAX_TAIL_LEN: usize = 512 << 20;

impl Tail {
    /// Reads a tail from its bytes, all of them: what was [received](Self::bytes) and kept.
    ///
    /// # Errors
    /// More than [`MAX_TAIL_LEN`] bytes, or no end.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Problem> {
        Self::parse_behind(bytes, 0)
    }

    /// The same behind so many [sections](super::Incoming::early_full_sections) that are [all](super::SectionKind::Full)
    /// of a device's state.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_behind(bytes: Vec<u8>, early_full_sections: usize) -> Result<Self, Problem> {
        if bytes.len() > MAX_TAIL_LEN {
            return Err(too_long(bytes.len() as u64, MAX_TAIL_LEN));
        }
        let mut finder = EndFinder::behind(early_full_sections);
        finder.advance(&bytes);
        finish(bytes, finder)
    }

    /// The state of one device; empty if `section` is not of this tail.
    pub fn data(&self, section: &SectionInfo) -> &[u8] {
        self.bytes
            .get(section.offset..)
            .and_then(|rest| rest.get(..section.len))
            .unwrap_or_default()
    }
}

/// Reads everything behind RAM's last footer.
pub(super) fn read(
    reader: &mut Reader,
    return_path: bool,
    (early, max_len): (usize, usize),
    is_moving: &mut dyn FnMut() -> bool,
) -> Result<Tail, StreamError> {
    let start = reader.offset();
    let mut bytes = Vec::new();
    let mut finder = EndFinder::behind(early);
    loop {
        match reader.fill() {
            Ok(true) => {}
            Ok(false) if return_path => return Err(ended(reader, &finder)),
            Ok(false) => return at_end_of_stream(bytes, finder, reader, start),
            Err(error) if is_time_limit(&error) && is_moving() => continue,
            Err(error) => return Err(explain(error, &finder)),
        }
        let available = reader.available();
        if available.len() > max_len - bytes.len() {
            let problem = too_long(bytes.len() as u64 + available.len() as u64, max_len);
            return Err(reader.wrong(start, problem));
        }
        bytes.extend_from_slice(available);
        let count = available.len();
        reader.consume(count);
        finder.advance(&bytes);
        if return_path && let Some(found) = finder.take_found() {
            return Ok(found.into_tail(bytes));
        }
    }
}

/// Writes FULL sections, with these ids.
pub(super) fn write(
    writer: &mut Writer,
    ids: impl Iterator<Item = u32>,
    sections: &[DeviceSection],
) -> Result<(), StreamError> {
    for (id, section) in ids.zip(sections) {
        if section.name.is_empty() {
            return Err(StreamError::Caller {
                at: writer.position(),
                problem: Problem::name("section", b""),
            });
        }
        let header = SectionHeader {
            id,
            idstr: section.name.clone(),
            instance: section.instance,
            version: section.version,
        };
        header.write(SectionType::FULL, writer)?;
        writer.put(&section.data)?;
        section::write_footer(writer, id)?;
    }
    Ok(())
}

/// Writes the end mark and a VM description.
pub(super) fn write_end(writer: &mut Writer, description: &[u8]) -> Result<(), StreamError> {
    let Ok(len) = u32::try_from(description.len()) else {
        return Err(StreamError::Caller {
            at: writer.position(),
            problem: Problem::TooMany {
                what: "the length of the VM description",
                got: description.len() as u64,
                max: u32::MAX.into(),
            },
        });
    };
    writer.put(&[SectionType::EOF.0, SectionType::VM_DESCRIPTION.0])?;
    writer.put(&len.to_be_bytes())?;
    writer.put(description)
}

impl Found {
    fn into_tail(self, bytes: Vec<u8>) -> Tail {
        Tail {
            bytes,
            description: self.description,
            sections: self.sections,
        }
    }
}

/// The tail of a stream without a return path, which has ended.
fn at_end_of_stream(
    bytes: Vec<u8>,
    finder: EndFinder,
    reader: &Reader,
    start: u64,
) -> Result<Tail, StreamError> {
    if bytes.is_empty() {
        return Err(ended(reader, &finder));
    }
    finish(bytes, finder).map_err(|problem| reader.wrong(start, problem))
}

/// The tail whose bytes are these and no more; the finder has seen all of them.
fn finish(bytes: Vec<u8>, mut finder: EndFinder) -> Result<Tail, Problem> {
    match finder.at_end_of_stream(&bytes) {
        Some(found) => Ok(found.into_tail(bytes)),
        None => Err(Problem::TailEnd {
            why: "the stream ends without an end mark (0x00) or a VM description".to_owned(),
        }),
    }
}

fn ended(reader: &Reader, finder: &EndFinder) -> StreamError {
    let at = reader.position();
    match finder.refused() {
        Some(reason) => {
            let why = format!("the stream ended; {reason}");
            StreamError::Peer {
                at,
                problem: Problem::TailEnd { why },
            }
        }
        None => StreamError::Ended {
            at,
            what: "the device state",
            got: 0,
            want: 1,
        },
    }
}

/// Whether this side has waited for as long as it wants to.
fn is_time_limit(error: &StreamError) -> bool {
    matches!(error, StreamError::Receive { error, .. }
        if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none())
}

/// Says more about a time limit that has passed, when a description has come.
fn explain(error: StreamError, finder: &EndFinder) -> StreamError {
    let (at, error) = match error {
        StreamError::Receive { at, error } if error.kind() == io::ErrorKind::TimedOut => {
            (at, error)
        }
        error => return error,
    };
    match finder.refused() {
        Some(reason) => {
            let why = format!("nothing more came; {reason}");
            StreamError::Peer {
                at,
                problem: Problem::TailEnd { why },
            }
        }
        None => {
            let what = format!(
                "{error} before the VM description came, which a source with a return path has to send: is \
                 suppress-vmdesc=on there?"
            );
            let error = io::Error::new(error.kind(), what);
            StreamError::Receive { at, error }
        }
    }
}

fn too_long(got: u64, max_len: usize) -> Problem {
    Problem::TooMany {
        what: "the length of the device state",
        got,
        max: max_len as u64,
    }
}
