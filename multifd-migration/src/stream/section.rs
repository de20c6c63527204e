// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What stands around a section's data.
//!
//! | first byte | name | what follows |
//! |---|---|---|
//! | `00` | EOF | nothing |
//! | `01` | START | [header](SectionHeader), data, footer |
//! | `02` | PART | section id, data, footer |
//! | `03` | END | section id, data, footer |
//! | `04` | FULL | as START |
//! | `05` | sub-section | only inside of other data |
//! | `06` | VM description | length, JSON |
//! | `07` | configuration | no footer |
//! | `08` | command | no footer |
//! | `7e` | footer | section id |
//!
//! The section id is a number of four bytes that the source chooses at START or FULL. Nothing says how
//! long a section's data is.

use super::{Problem, Reader, StreamError, Writer};

/// The first byte of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SectionType(pub(super) u8);

impl SectionType {
    pub(super) const EOF: Self = Self(0);
    pub(super) const START: Self = Self(1);
    pub(super) const PART: Self = Self(2);
    pub(super) const END: Self = Self(3);
    pub(super) const FULL: Self = Self(4);
    pub(super) const SUBSECTION: Self = Self(5);
    pub(super) const VM_DESCRIPTION: Self = Self(6);
    pub(super) const CONFIGURATION: Self = Self(7);
    pub(super) const COMMAND: Self = Self(8);
    pub(super) const FOOTER: Self = Self(0x7e);
}

/// A tail without device state and with an empty description, which QEMU takes too.
pub const EMPTY_TAIL: [u8; 6] = [
    SectionType::EOF.0,
    SectionType::VM_DESCRIPTION.0,
    0,
    0,
    0,
    0,
];

/// What follows the first byte of a START or FULL section.
///
/// | size | field |
/// |---|---|
/// | 4 | section id |
/// | 1 + n | id string |
/// | 4 | instance |
/// | 4 | version |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SectionHeader {
    pub(super) id: u32,
    pub(super) idstr: String,
    pub(super) instance: u32,
    pub(super) version: u32,
}

impl SectionHeader {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, StreamError> {
        let id = reader.u32("a section's id")?;
        let at = reader.offset();
        let idstr = text("section", reader.short_string("a section's name")?)
            .map_err(|problem| reader.wrong(at, problem))?;
        Ok(Self {
            id,
            idstr,
            instance: reader.u32("a section's instance")?,
            version: reader.u32("a section's version")?,
        })
    }

    /// Writes the header behind its first byte. The name has at most 255 bytes.
    pub(super) fn write(&self, kind: SectionType, writer: &mut Writer) -> Result<(), StreamError> {
        writer.put(&[kind.0])?;
        writer.put(&self.id.to_be_bytes())?;
        put_short_string(writer, &self.idstr)?;
        writer.put(&self.instance.to_be_bytes())?;
        writer.put(&self.version.to_be_bytes())
    }
}

/// Reads the footer that closes section `id`.
pub(super) fn read_footer(reader: &mut Reader, id: u32) -> Result<(), StreamError> {
    let at = reader.offset();
    let mark = reader.u8("a section's footer")?;
    check_footer(id, mark, None).map_err(|problem| reader.wrong(at, problem))?;
    let got = reader.u32("a section's footer")?;
    check_footer(id, mark, Some(got)).map_err(|problem| reader.wrong(at, problem))
}

/// Checks as much of the footer of section `id` as is known: its first byte, and the section's number.
pub(super) fn check_footer(id: u32, mark: u8, got: Option<u32>) -> Result<(), Problem> {
    if mark != SectionType::FOOTER.0 {
        let want = "a section's footer (0x7e); set send-section-footer=on at the source";
        return Err(Problem::value("a byte", mark, want));
    }
    if let Some(got) = got.filter(|got| *got != id) {
        let want = format_args!("{id:#x}, the section that it closes");
        return Err(Problem::value("a footer's section id", got, want));
    }
    Ok(())
}

pub(super) fn write_footer(writer: &mut Writer, id: u32) -> Result<(), StreamError> {
    writer.put(&[SectionType::FOOTER.0])?;
    writer.put(&id.to_be_bytes())
}

/// Writes a string behind one byte of length.
pub(super) fn put_short_string(writer: &mut Writer, text: &str) -> Result<(), StreamError> {
    let Ok(len) = u8::try_from(text.len()) else {
        return Err(StreamError::Caller {
            at: writer.position(),
            problem: Problem::TooMany {
                what: "the length of a name",
                got: text.len() as u64,
                max: u8::MAX.into(),
            },
        });
    };
    writer.put(&[len])?;
    writer.put(text.as_bytes())
}

/// A name that came over the wire: UTF-8, not empty, without NUL.
pub(super) fn text(what: &'static str, bytes: Vec<u8>) -> Result<String, Problem> {
    match String::from_utf8(bytes) {
        Ok(name) if is_name(&name) => Ok(name),
        Ok(got) => Err(Problem::name(what, got.as_bytes())),
        Err(error) => Err(Problem::name(what, error.as_bytes())),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0')
}
