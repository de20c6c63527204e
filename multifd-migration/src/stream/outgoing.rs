// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main stream as a source writes it.

use std::collections::HashSet;

use multifd_core::PageSize;

use super::ram::{self, AnnouncedBlock, MAX_BLOCKS, RAM_IDSTR, RAM_INSTANCE, RAM_VERSION};
use super::section::{self, SectionHeader, SectionType};
use super::{
    Command, Configuration, DeviceSection, EarlyPart, Problem, SectionHead, SectionKind,
    StreamError, SyncMode, Writer,
};
use super::{tail, vmdesc};

/// The main stream of a migration, written piece by piece.
///
/// The order is the caller's: [`configuration`](Self::configuration), commands,
/// [`ram_start`](Self::ram_start), any number of [`ram_part`](Self::ram_part)s,
/// [`ram_end`](Self::ram_end), and a tail. Nothing is sent before a [`flush`](Self::flush).
#[derive(Debug)]
pub struct Outgoing {
    writer: Writer,
    page_size: PageSize,
    sync_mode: SyncMode,
    machine: String,
    blocks: Vec<AnnouncedBlock>,
    last_block: Option<usize>,
    ram_section_id: u32,
    early: EarlySections,
}

/// What has been written that is not RAM's.
#[derive(Debug, Default)]
struct EarlySections {
    /// The section that is being written, and how many bytes it has.
    open: Option<(SectionHead, u64)>,
    /// Those that are all of their device's state.
    described: Vec<vmdesc::Described>,
    ids: HashSet<u32>,
}

/// A RAM section that is being written. [`finish`](Self::finish) closes it; without that the stream
/// cannot go on.
#[derive(Debug)]
#[must_use = "a section is closed by `finish`"]
pub struct RamSection<'a> {
    stream: &'a mut Outgoing,
}

/// The id that a source gives to RAM's sections unless told otherwise; QEMU's for x86 machines is the same.
pub const RAM_SECTION_ID: u32 = 1;

impl Outgoing {
    /// A main stream from its first byte on. `page_size` is the guest's. `sync_mode` is what the
    /// destination is set to: nothing on the wire negotiates it.
    pub fn new(writer: Writer, page_size: PageSize, sync_mode: SyncMode) -> Self {
        Self {
            writer,
            page_size,
            sync_mode,
            machine: String::new(),
            blocks: Vec::new(),
            last_block: None,
            ram_section_id: RAM_SECTION_ID,
            early: EarlySections::default(),
        }
    }

    /// Gives RAM's sections this id instead of [`RAM_SECTION_ID`], because another section has that. To be called before
    /// [`ram_start`](Self::ram_start).
    pub fn set_ram_section_id(&mut self, id: u32) {
        self.ram_section_id = id;
    }

    /// Writes the stream's head: magic, version and configuration.
    ///
    /// # Errors
    /// The transport's, and a name or a list that is too long.
    pub fn configuration(&mut self, configuration: &Configuration) -> Result<(), StreamError> {
        configuration.write(&mut self.writer)?;
        self.machine.clone_from(&configuration.machine);
        Ok(())
    }

    /// Writes a command.
    ///
    /// # Errors
    /// The transport's.
    pub fn command(&mut self, command: Command) -> Result<(), StreamError> {
        command.write(&mut self.writer)
    }

    /// Opens the RAM START section and lists the blocks. In it there must be one
    /// [`sync`](RamSection::sync).
    ///
    /// # Errors
    /// The transport's, more than [`MAX_BLOCKS`] blocks, a length that is not whole pages, and a sum
    /// of lengths that has no room in a word.
    pub fn ram_start(
        &mut self,
        blocks: Vec<AnnouncedBlock>,
    ) -> Result<RamSection<'_>, StreamError> {
        let total = self
            .total(&blocks)
            .map_err(|problem| self.misuse(problem))?;
        let header = SectionHeader {
            id: self.ram_section_id,
            idstr: RAM_IDSTR.to_owned(),
            instance: RAM_INSTANCE,
            version: RAM_VERSION,
        };
        header.write(SectionType::START, &mut self.writer)?;
        self.word(total | ram::MEM_SIZE)?;
        for block in &blocks {
            section::put_short_string(&mut self.writer, block.name.as_str())?;
            self.writer.put(&block.used_length.to_be_bytes())?;
        }
        self.blocks = blocks;
        Ok(RamSection { stream: self })
    }

    /// Opens a RAM PART section.
    ///
    /// # Errors
    /// The transport's.
    pub fn ram_part(&mut self) -> Result<RamSection<'_>, StreamError> {
        self.resume(SectionType::PART)
    }

    /// Opens the RAM END section. In it there must be a [`sync`](RamSection::sync) if any page was
    /// sent since the last one.
    ///
    /// # Errors
    /// The transport's.
    pub fn ram_end(&mut self) -> Result<RamSection<'_>, StreamError> {
        self.resume(SectionType::END)
    }

    /// Opens a RAM section that lists no blocks.
    fn resume(&mut self, kind: SectionType) -> Result<RamSection<'_>, StreamError> {
        self.writer.put(&[kind.0])?;
        self.writer.put(&self.ram_section_id.to_be_bytes())?;
        Ok(RamSection { stream: self })
    }

    /// Writes a section that was received before the end of RAM, as it came, piece by piece. To be called between RAM's
    /// sections, never in one.
    ///
    /// # Errors
    /// The transport's, a name that is not 1 to 255 bytes long, RAM's id, and pieces that are not in order.
    pub fn early_section(&mut self, part: EarlyPart<'_>) -> Result<(), StreamError> {
        match (part, &mut self.early.open) {
            (EarlyPart::Start { head, .. }, None) => self.early_start(head),
            (EarlyPart::Data(data), Some((_, written))) => {
                *written = written.saturating_add(data.len() as u64);
                self.writer.put(data)
            }
            (EarlyPart::End, open @ Some(_)) => {
                let closed = open.take();
                closed.map_or(Ok(()), |(head, len)| self.early_end(head, len))
            }
            (EarlyPart::Start { .. }, Some(_)) => {
                let (what, when) = ("a section", "begins inside of another");
                Err(self.misuse(Problem::Order { what, when }))
            }
            (EarlyPart::Data(_) | EarlyPart::End, None) => {
                let (what, when) = ("a piece of a section", "comes without its start");
                Err(self.misuse(Problem::Order { what, when }))
            }
        }
    }

    fn early_start(&mut self, head: &SectionHead) -> Result<(), StreamError> {
        if head.id == self.ram_section_id {
            let want = "another one than RAM's";
            return Err(self.misuse(Problem::value("a section's id", head.id, want)));
        }
        if head.idstr.is_empty() {
            return Err(self.misuse(Problem::name("section", b"")));
        }
        let kind = head.kind.section_type();
        match head.kind {
            SectionKind::Start | SectionKind::Full => {
                let header = SectionHeader {
                    id: head.id,
                    idstr: head.idstr.clone(),
                    instance: head.instance,
                    version: head.version,
                };
                header.write(kind, &mut self.writer)?;
            }
            SectionKind::Part | SectionKind::End => {
                self.writer.put(&[kind.0])?;
                self.writer.put(&head.id.to_be_bytes())?;
            }
        }
        self.early.ids.insert(head.id);
        self.early.open = Some((head.clone(), 0));
        Ok(())
    }

    fn early_end(&mut self, head: SectionHead, len: u64) -> Result<(), StreamError> {
        section::write_footer(&mut self.writer, head.id)?;
        if head.kind == SectionKind::Full {
            self.early.described.push(vmdesc::Described {
                name: head.idstr,
                instance: head.instance,
                version: head.version,
                size: len,
            });
        }
        Ok(())
    }

    /// Writes the rest of the stream as it is: the [bytes](super::Tail::bytes) of a tail that was
    /// received, or
    /// [`EMPTY_TAIL`](super::EMPTY_TAIL).
    ///
    /// # Errors
    /// The transport's.
    pub fn opaque_tail(&mut self, tail: &[u8]) -> Result<(), StreamError> {
        self.writer.put(tail)
    }

    /// Writes the rest of the stream: these sections, in this order, and a VM description of them and of those that
    /// were [all](SectionKind::Full) of a device's state before.
    ///
    /// # Errors
    /// The transport's, and a name that is not 1 to 255 bytes long.
    pub fn tail(&mut self, sections: &[DeviceSection]) -> Result<(), StreamError> {
        let ram = self.ram_section_id;
        let early = &self.early;
        let ids = (RAM_SECTION_ID + 1..).filter(|id| *id != ram && !early.ids.contains(id));
        tail::write(&mut self.writer, ids, sections)?;
        let described = sections.iter().map(vmdesc::Described::of);
        let described = early.described.iter().cloned().chain(described);
        let description = vmdesc::generate(&self.machine, self.page_size, described);
        tail::write_end(&mut self.writer, &description)
    }

    /// Sends what is buffered.
    ///
    /// # Errors
    /// The transport's.
    pub fn flush(&mut self) -> Result<(), StreamError> {
        self.writer.flush()
    }

    /// The writer: how far the stream has come, and its transport.
    pub fn writer_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Gives the writer back.
    pub fn into_writer(self) -> Writer {
        self.writer
    }

    fn word(&mut self, word: u64) -> Result<(), StreamError> {
        self.writer.put(&word.to_be_bytes())
    }

    fn total(&self, blocks: &[AnnouncedBlock]) -> Result<u64, Problem> {
        if blocks.len() > MAX_BLOCKS {
            return Err(ram::too_many_blocks(blocks.len()));
        }
        blocks.iter().try_fold(0_u64, |sum, block| {
            let len = block.used_length;
            sum.checked_add(len)
                .filter(|_| self.page_size.is_aligned(len))
                .ok_or_else(|| {
                    let want = format_args!("whole pages of {}, 2^64 bytes in all", self.page_size);
                    Problem::value("a RAM block's length", len, want)
                })
        })
    }

    fn misuse(&self, problem: Problem) -> StreamError {
        let at = self.writer.position();
        StreamError::Caller { at, problem }
    }
}

impl RamSection<'_> {
    /// Says that a page is all zero: what `zero-page-detection=legacy` does instead of listing it in
    /// a packet. `block` is the index in the list that was announced.
    ///
    /// # Errors
    /// The transport's, and a page that is not in the block.
    pub fn zero_page(&mut self, block: usize, offset: u64) -> Result<(), StreamError> {
        let stream = &mut *self.stream;
        let Some(announced) = stream.blocks.get(block) else {
            let problem = ram::no_such_block(block, stream.blocks.len());
            return Err(stream.misuse(problem));
        };
        ram::check_inside(announced, offset, stream.page_size)
            .map_err(|problem| stream.misuse(problem))?;
        if stream.last_block == Some(block) {
            stream.word(offset | ram::ZERO | ram::CONTINUE)?;
        } else {
            let name = announced.name.clone();
            stream.word(offset | ram::ZERO)?;
            section::put_short_string(&mut stream.writer, name.as_str())?;
            stream.last_block = Some(block);
        }
        stream.writer.put(&[0])
    }

    /// Marks the point where the channels meet; each of them has a SYNC packet for it.
    ///
    /// With [`SyncMode::PerSection`] nothing is written, for the section's end is that point: there
    /// every section has exactly one.
    ///
    /// # Errors
    /// The transport's.
    pub fn sync(&mut self) -> Result<(), StreamError> {
        match self.stream.sync_mode {
            SyncMode::PerRound => self.stream.word(ram::FLUSH),
            SyncMode::PerSection => Ok(()),
        }
    }

    /// Closes the section.
    ///
    /// # Errors
    /// The transport's.
    pub fn finish(self) -> Result<(), StreamError> {
        self.stream.word(ram::EOS)?;
        section::write_footer(&mut self.stream.writer, self.stream.ram_section_id)
    }
}
