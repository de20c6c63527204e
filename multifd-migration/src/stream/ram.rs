// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The data of RAM sections: words of eight bytes, an address and flags, and what follows them.
//!
//! | flag | name | what follows |
//! |---|---|---|
//! | `0x002` | ZERO | block name, one byte 0 |
//! | `0x004` | MEM_SIZE | the [block list](AnnouncedBlock); the address is the sum of the lengths |
//! | `0x008` | PAGE | block name, a page; not with multifd |
//! | `0x010` | EOS | the section's footer |
//! | `0x020` | CONTINUE | with ZERO or PAGE: the same block as before, no name |
//! | `0x200` | FLUSH | nothing; every channel has a SYNC packet for it |
//!
//! The address is a byte offset in the block, a multiple of the page size. A block name is one byte of
//! length and the name. Which block was named last is remembered from one section to the next.

use std::collections::HashMap;

use multifd_core::PageSize;
use multifd_core::wire::BlockName;

use super::section::SectionHeader;
use super::{Problem, Reader, StreamError};

/// A RAM block as the source describes it.
///
/// | size | field |
/// |---|---|
/// | 1 + n | name |
/// | 8 | length in bytes |
/// | 8 | size of its host's pages; with `postcopy-ram` only, and only if that is not the usual one |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedBlock {
    /// Its name.
    pub name: BlockName,
    /// Its length in bytes, a multiple of the page size.
    pub used_length: u64,
}

/// What tells the destination to wait for the channels. Fixed for a migration by the source, with
/// QEMU's property `multifd-flush-after-each-section`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncMode {
    /// A FLUSH word, at the end of each pass over memory.
    PerRound,
    /// The EOS word of every RAM section. Sources and machine types up to 8.0.
    PerSection,
}

/// Which of the RAM sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RamPart {
    /// The first one, with the list of blocks.
    Start,
    /// Any number between.
    Part,
    /// The last one: after it comes the device state.
    End,
}

/// The id string of RAM's sections.
pub const RAM_IDSTR: &str = "ram";
/// The instance of RAM's sections.
pub const RAM_INSTANCE: u32 = 0;
/// The version of RAM's sections, the only one there is.
pub const RAM_VERSION: u32 = 4;
/// Most RAM blocks of a migration. A machine has one for each memory device and each ROM: tens, and
/// with every slot of a large machine filled about two thousand.
pub const MAX_BLOCKS: usize = 16 * 1024;

pub(super) const ZERO: u64 = 0x002;
pub(super) const MEM_SIZE: u64 = 0x004;
pub(super) const PAGE: u64 = 0x008;
pub(super) const EOS: u64 = 0x010;
pub(super) const CONTINUE: u64 = 0x020;
pub(super) const FLUSH: u64 = 0x200;

/// A word of a RAM section, with what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Zero { block: usize, offset: u64 },
    Flush,
    Eos,
}

/// What is known about the source's memory since the START section.
#[derive(Debug)]
pub(super) struct RamReader {
    pub(super) section_id: u32,
    pub(super) blocks: Vec<AnnouncedBlock>,
    by_name: HashMap<BlockName, usize>,
    page_size: PageSize,
    last_block: Option<usize>,
    /// Where the list of blocks ends in the stream.
    list_end: u64,
}

impl RamReader {
    /// Reads the START section up to the end of its block list. `at` is the section's first byte.
    pub(super) fn start(
        reader: &mut Reader,
        header: &SectionHeader,
        (page_size, host_page_sizes): (PageSize, Option<u64>),
        at: u64,
    ) -> Result<Self, StreamError> {
        for (what, got, want) in [
            ("the version of RAM", header.version, RAM_VERSION),
            ("the instance of RAM", header.instance, RAM_INSTANCE),
        ] {
            if got != want {
                return Err(reader.wrong(at, Problem::value(what, got, want)));
            }
        }
        let mut ram = Self {
            section_id: header.id,
            blocks: Vec::new(),
            by_name: HashMap::new(),
            page_size,
            last_block: None,
            list_end: 0,
        };
        ram.read_blocks(reader, host_page_sizes)?;
        ram.list_end = reader.offset();
        Ok(ram)
    }

    /// Reads one word and what follows it.
    pub(super) fn word(&mut self, reader: &mut Reader) -> Result<Word, StreamError> {
        let at = reader.offset();
        let word = reader.u64("a RAM word")?;
        let (address, flags) = self.split(word);
        match flags {
            ZERO => self.zero_page(reader, address, false),
            flags if flags == ZERO | CONTINUE => self.zero_page(reader, address, true),
            FLUSH if address == 0 => Ok(Word::Flush),
            EOS if address == 0 => Ok(Word::Eos),
            _ => {
                let why = match refusal(flags) {
                    UNKNOWN_FLAGS if at == self.list_end => UNKNOWN_BEHIND_LIST,
                    why => why,
                };
                Err(reader.wrong(at, Problem::RamWord { got: word, why }))
            }
        }
    }

    fn read_blocks(
        &mut self,
        reader: &mut Reader,
        host_page_sizes: Option<u64>,
    ) -> Result<(), StreamError> {
        let at = reader.offset();
        let word = reader.u64("the total of memory")?;
        let (mut left, flags) = self.split(word);
        if flags != MEM_SIZE && flags & LEAST_FLAGS == MEM_SIZE {
            let why = "the total of memory is not a multiple of this side's page size: the guest has smaller pages";
            return Err(reader.wrong(at, Problem::RamWord { got: word, why }));
        }
        if flags != MEM_SIZE {
            let why = "wanted the total of memory (MEM_SIZE, 0x4) first";
            return Err(reader.wrong(at, Problem::RamWord { got: word, why }));
        }
        while left > 0 {
            let at = reader.offset();
            // No block is without a name: this is a word.
            if reader.peek("a RAM block's name")? == 0 {
                return Err(reader.wrong(at, Problem::BlocksMissing { left }));
            }
            let block = self.read_block(reader)?;
            self.add(block, &mut left)
                .map_err(|problem| reader.wrong(at, problem))?;
            if let Some(sizes) = host_page_sizes {
                self.skip_host_page_size(reader, sizes)?;
            }
        }
        Ok(())
    }

    fn read_block(&self, reader: &mut Reader) -> Result<AnnouncedBlock, StreamError> {
        let at = reader.offset();
        let name = read_name(reader)?;
        let used_length = reader.u64("a RAM block's length")?;
        if !self.page_size.is_aligned(used_length) {
            let want = format_args!(
                "a multiple of the page size {}: does the guest have other pages?",
                self.page_size
            );
            let problem = Problem::value("a RAM block's length", used_length, want);
            return Err(reader.wrong(at, problem));
        }
        Ok(AnnouncedBlock { name, used_length })
    }

    /// Reads the size of a block's host pages, if it is there: behind a block of huge pages of a source that allows
    /// postcopy. What else may stand there is no size that the source has named: the name of the next block begins
    /// with its length, and a word of RAM has a flag of less than a page.
    fn skip_host_page_size(&self, reader: &mut Reader, sizes: u64) -> Result<(), StreamError> {
        let Some(size) = reader.peek_up_to(8)?.first_chunk() else {
            return Ok(());
        };
        let size = u64::from_be_bytes(*size);
        if size.is_power_of_two() && size & sizes != 0 && size > self.page_size.bytes_u64() {
            reader.u64("the size of a RAM block's host pages")?;
        }
        Ok(())
    }

    fn add(&mut self, block: AnnouncedBlock, left: &mut u64) -> Result<(), Problem> {
        let AnnouncedBlock { name, used_length } = block;
        let Some(rest) = left.checked_sub(used_length) else {
            return Err(Problem::BlockTotal {
                name,
                got: used_length,
                left: *left,
            });
        };
        *left = rest;
        let index = self.blocks.len();
        if index >= MAX_BLOCKS {
            return Err(too_many_blocks(index));
        }
        if self.by_name.insert(name.clone(), index).is_some() {
            return Err(Problem::DuplicateBlock { name });
        }
        self.blocks.push(AnnouncedBlock { name, used_length });
        Ok(())
    }

    fn zero_page(
        &mut self,
        reader: &mut Reader,
        offset: u64,
        same_block: bool,
    ) -> Result<Word, StreamError> {
        let at = reader.offset();
        let index = if same_block {
            self.last_block.ok_or_else(|| {
                let (what, when) = ("a page of the same block as before", "comes first");
                reader.wrong(at, Problem::Order { what, when })
            })?
        } else {
            self.named_block(reader)?
        };
        self.last_block = Some(index);
        let fill_at = reader.offset();
        let fill = reader.u8("the byte that fills a page")?;
        if fill != 0 {
            return Err(reader.wrong(
                fill_at,
                Problem::value("the byte that fills a page", fill, 0),
            ));
        }
        match self.blocks.get(index) {
            Some(block) => check_inside(block, offset, self.page_size)
                .map_err(|problem| reader.wrong(at, problem))?,
            None => return Err(reader.wrong(at, no_such_block(index, self.blocks.len()))),
        }
        Ok(Word::Zero {
            block: index,
            offset,
        })
    }

    fn named_block(&self, reader: &mut Reader) -> Result<usize, StreamError> {
        let at = reader.offset();
        let name = read_name(reader)?;
        self.by_name.get(&name).copied().ok_or_else(|| {
            let (what, got) = ("RAM block", name.as_str().to_owned());
            reader.wrong(at, Problem::Unknown { what, got })
        })
    }

    /// The address and the flags of a word.
    fn split(&self, word: u64) -> (u64, u64) {
        let flags = word & (self.page_size.bytes_u64() - 1);
        (word - flags, flags)
    }
}

/// Whether the page at `offset` is aligned and wholly inside of the block.
pub(super) fn check_inside(
    block: &AnnouncedBlock,
    offset: u64,
    page_size: PageSize,
) -> Result<(), Problem> {
    let inside = offset
        .checked_add(page_size.bytes_u64())
        .is_some_and(|end| end <= block.used_length);
    if inside && page_size.is_aligned(offset) {
        return Ok(());
    }
    Err(Problem::OutOfBlock {
        name: block.name.clone(),
        got: offset,
        len: block.used_length,
    })
}

pub(super) fn no_such_block(index: usize, blocks: usize) -> Problem {
    Problem::value(
        "a RAM block's index",
        index as u64,
        format_args!("less than {blocks}"),
    )
}

pub(super) fn too_many_blocks(count: usize) -> Problem {
    Problem::TooMany {
        what: "the number of RAM blocks",
        got: count as u64 + 1,
        max: MAX_BLOCKS as u64,
    }
}

fn read_name(reader: &mut Reader) -> Result<BlockName, StreamError> {
    let at = reader.offset();
    let bytes = reader.short_string("a RAM block's name")?;
    BlockName::from_wire(&bytes).ok_or_else(|| reader.wrong(at, Problem::name("RAM block", &bytes)))
}

/// Why no word has these flags.
fn refusal(flags: u64) -> &'static str {
    match flags & !CONTINUE {
        PAGE => "a page on the main channel: turn on multifd at the source, and leave out postcopy",
        XBZRLE => "a page compressed with XBZRLE: turn off xbzrle at the source",
        COMPRESS_PAGE => "a page compressed by threads: turn off compress at the source",
        HOOK => "a word of RDMA, which is not supported",
        MEM_SIZE => "a second list of RAM blocks",
        EOS | FLUSH | ZERO => "wanted no address and no other flag",
        _ => UNKNOWN_FLAGS,
    }
}

const UNKNOWN_FLAGS: &str = "unknown flags: the stream is damaged, or the page sizes differ";
const UNKNOWN_BEHIND_LIST: &str = "unknown flags behind the list of RAM blocks, whose lengths have reached the \
                                   total: the total is less than that of all blocks, a block has no pages, or the \
                                   page sizes differ";

/// The flags of a guest with the smallest pages.
const LEAST_FLAGS: u64 = 0xfff;
const XBZRLE: u64 = 0x040;
const HOOK: u64 = 0x080;
const COMPRESS_PAGE: u64 = 0x100;
