// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The data of a section, piece by piece, and its end.

use super::super::reader::BUFFER_LEN;
use super::super::section::SectionType;
use super::super::{Problem, Reader, StreamError};
use super::begin::{Beginning, beginning};
use super::format::{Format, Next, Recorder};
use super::head::{MAX_UNKNOWN_LEN, SectionHead};

/// The section that is being read.
#[derive(Debug)]
pub(in super::super) struct Body {
    head: SectionHead,
    /// Its first byte.
    start: u64,
    state: State,
    /// Bytes through which its end has been looked for.
    searched: u64,
}

/// What has been read of a section.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Piece {
    /// Data, maybe none.
    Data(Vec<u8>),
    /// The footer, all of it.
    End,
}

#[derive(Debug)]
enum State {
    /// At a record of a layout that is known.
    Record(Format),
    /// So many bytes are left of a record.
    Bytes(Format, u64),
    /// So many bytes are left of all data.
    Last(u64),
    /// The footer or a record of this layout.
    Any(Format),
    /// The footer may be anywhere. So many bytes of it have been read, but not been answered as data.
    Search(usize),
    /// Behind bytes that may be the footer. Until another section begins the source is taken to be inside of this one.
    Doubt,
}

impl Body {
    /// The data behind a section's head. `start` is the section's first byte.
    pub(in super::super) fn new(head: SectionHead, start: u64) -> Self {
        let format = Format::of(&head);
        let mut body = Self {
            head,
            start,
            state: format.map_or(State::Search(0), State::Record),
            searched: 0,
        };
        if format.is_none() {
            body.search("its layout is not known");
        }
        body
    }

    /// Reads on. `is_open` knows the ids of sections that may be continued.
    pub(in super::super) fn read(
        &mut self,
        reader: &mut Reader,
        is_open: &dyn Fn(u32) -> bool,
    ) -> Result<Piece, StreamError> {
        match self.state {
            State::Record(format) | State::Bytes(format, 0) => self.record(format, reader),
            State::Bytes(format, left) => {
                let data = take(reader, left)?;
                self.state = State::Bytes(format, left - data.len() as u64);
                Ok(Piece::Data(data))
            }
            State::Last(0) => self.footer(reader),
            State::Last(left) => {
                let data = take(reader, left)?;
                self.state = State::Last(left - data.len() as u64);
                Ok(Piece::Data(data))
            }
            State::Any(format) => match self.is_footer(reader)? {
                true => self.footer(reader),
                false => self.record(format, reader),
            },
            State::Search(held) => self.look_for_footer(held, reader),
            State::Doubt => self.resolve(reader, is_open),
        }
    }

    fn record(&mut self, mut format: Format, reader: &mut Reader) -> Result<Piece, StreamError> {
        let bytes = Vec::new();
        let mut recorder = Recorder { reader, bytes };
        let next = format.record(&mut recorder)?;
        let bytes = recorder.bytes;
        match next {
            Next::Bytes(count) => self.state = State::Bytes(format, count),
            Next::Last(count) => self.state = State::Last(count),
            Next::Any => self.state = State::Any(format),
            Next::Unknown => self.search("it is laid out in a way that is not known"),
        }
        Ok(Piece::Data(bytes))
    }

    /// Reads the footer, which has to stand here.
    fn footer(&mut self, reader: &mut Reader) -> Result<Piece, StreamError> {
        if self.is_footer(reader)? {
            reader.consume(FOOTER_LEN);
            return Ok(Piece::End);
        }
        self.search("its footer is not where the layout that is known has it");
        Ok(Piece::Data(Vec::new()))
    }

    fn is_footer(&self, reader: &mut Reader) -> Result<bool, StreamError> {
        let next = reader.peek_up_to(FOOTER_LEN)?;
        Ok(next.starts_with(&footer_of(self.head.id)))
    }

    /// Gives up the layout.
    fn search(&mut self, why: &str) {
        let SectionHead { idstr, kind, .. } = &self.head;
        log::warn!(
            "the {kind:?} section of {idstr:?} at byte {:#x} of the main stream: {why}; its end is taken to be \
             where its footer and another section follow",
            self.start
        );
        self.state = State::Search(0);
    }

    /// Reads up to what may be the footer, or what has come. `held` bytes of it have been read.
    fn look_for_footer(&mut self, held: usize, reader: &mut Reader) -> Result<Piece, StreamError> {
        if self.searched > MAX_UNKNOWN_LEN {
            return Err(self.endless(reader));
        }
        let footer = footer_of(self.head.id);
        let want = footer.get(held..).unwrap_or_default();
        if held == 0 {
            let available = reader.peek_up_to(1)?;
            let count = distance(available, &footer);
            if count > 0 {
                let data = available.get(..count).unwrap_or_default().to_vec();
                reader.consume(count);
                return Ok(self.searched(data));
            }
        }
        let available = reader.peek_up_to(want.len())?;
        if available.len() < want.len() {
            return Err(ended(reader, want.len()));
        }
        if available.starts_with(want) {
            reader.consume(want.len());
            self.state = State::Doubt;
            return Ok(Piece::Data(Vec::new()));
        }
        if held == 0 {
            // What began like a footer is none.
            let data = reader.array::<1>(WHAT)?.to_vec();
            return Ok(self.searched(data));
        }
        Ok(self.give_up(&footer, held))
    }

    /// Finds out whether the bytes that have been read were the footer.
    fn resolve(
        &mut self,
        reader: &mut Reader,
        is_open: &dyn Fn(u32) -> bool,
    ) -> Result<Piece, StreamError> {
        let mut wanted = 1;
        loop {
            let next = reader.peek_up_to(wanted)?;
            if next.len() < wanted {
                return Err(ended(reader, wanted));
            }
            match beginning(next, is_open) {
                Beginning::Yes => return Ok(Piece::End),
                Beginning::No => {
                    let footer = footer_of(self.head.id);
                    return Ok(self.give_up(&footer, FOOTER_LEN));
                }
                Beginning::Wants(more) => wanted = more.max(wanted + 1),
            }
        }
    }

    /// The first `held` bytes of a footer have been read, but it is none: they are data, except for the last of
    /// them with which one may begin.
    fn give_up(&mut self, footer: &[u8; FOOTER_LEN], held: usize) -> Piece {
        let read = footer.get(..held).unwrap_or(footer);
        let is_beginning = |len: &usize| read.get(held - *len..) == footer.get(..*len);
        let kept = (1..held).rev().find(is_beginning).unwrap_or(0);
        self.state = State::Search(kept);
        let data = read.get(..held - kept).unwrap_or_default().to_vec();
        self.searched(data)
    }

    fn searched(&mut self, data: Vec<u8>) -> Piece {
        self.searched += data.len() as u64;
        Piece::Data(data)
    }

    fn endless(&self, reader: &Reader) -> StreamError {
        let idstr = &self.head.idstr;
        let problem = Problem::Unsupported {
            what: format!(
                "state of {idstr:?} before the end of RAM that does not end within {MAX_UNKNOWN_LEN} bytes"
            ),
            advice: "migrate without this device, or without the capability that sends it",
        };
        reader.wrong(self.start, problem)
    }
}

/// Some of the next `left` bytes, at least one.
fn take(reader: &mut Reader, left: u64) -> Result<Vec<u8>, StreamError> {
    let available = reader.peek_up_to(1)?;
    if available.is_empty() {
        let want = usize::try_from(left).unwrap_or(BUFFER_LEN);
        return Err(ended(reader, want));
    }
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let data = available.get(..left).unwrap_or(available).to_vec();
    reader.consume(data.len());
    Ok(data)
}

/// How far it is to the first place where the footer may stand: all of the bytes if there is none.
fn distance(bytes: &[u8], footer: &[u8; FOOTER_LEN]) -> usize {
    let mut from = 0;
    while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
        let Some(at) = rest.iter().position(|byte| *byte == footer[0]) else {
            return bytes.len();
        };
        let here = rest.get(at..).unwrap_or_default();
        if here.iter().zip(footer).all(|(got, want)| got == want) {
            return from + at;
        }
        from += at + 1;
    }
    bytes.len()
}

fn footer_of(id: u32) -> [u8; FOOTER_LEN] {
    let [a, b, c, d] = id.to_be_bytes();
    [SectionType::FOOTER.0, a, b, c, d]
}

fn ended(reader: &Reader, want: usize) -> StreamError {
    StreamError::Ended {
        at: reader.position(),
        what: WHAT,
        got: reader.available().len(),
        want,
    }
}

const WHAT: &str = "a device's state";
const FOOTER_LEN: usize = 5;
