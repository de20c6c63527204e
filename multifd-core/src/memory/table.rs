// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! RAM blocks whose memory is elsewhere.

use super::MemoryError;
use crate::geometry::PageSize;
use crate::wire::BlockName;

/// The names and lengths of a guest's RAM blocks: all that a relay knows of them.
#[derive(Debug)]
pub(crate) struct BlockTable {
    /// In the order of their names.
    blocks: Vec<(BlockName, u64)>,
}

impl BlockTable {
    /// Takes blocks with their lengths in bytes, in any order.
    ///
    /// # Errors
    /// Two blocks of one name, or a length that is not a multiple of the page size.
    pub(crate) fn new(
        page_size: PageSize,
        mut blocks: Vec<(BlockName, u64)>,
    ) -> Result<Self, MemoryError> {
        blocks.sort_unstable_by(|(one, _), (other, _)| bytes(one).cmp(bytes(other)));
        let odd = blocks.iter().find(|(_, len)| !page_size.is_aligned(*len));
        if let Some((block, len)) = odd {
            return Err(MemoryError::Length {
                block: block.clone(),
                len: *len,
                page_size,
            });
        }
        let mut pairs = blocks.iter().zip(blocks.iter().skip(1));
        if let Some(((block, _), _)) = pairs.find(|((one, _), (next, _))| one == next) {
            return Err(MemoryError::DuplicateName {
                block: block.clone(),
            });
        }
        Ok(Self { blocks })
    }

    /// Finds a block by the name in a packet; returns its length, too.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&BlockName, u64)> {
        let at = self
            .blocks
            .binary_search_by(|(block, _)| bytes(block).cmp(name))
            .ok()?;
        self.blocks.get(at).map(|(block, len)| (block, *len))
    }
}

fn bytes(name: &BlockName) -> &[u8] {
    name.as_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(blocks: &[(&str, u64)]) -> Result<BlockTable, MemoryError> {
        let blocks = blocks
            .iter()
            .map(|(name, len)| (BlockName::new(name).unwrap(), *len));
        BlockTable::new(PageSize::X86, blocks.collect())
    }

    #[test]
    fn blocks_are_found_by_name() {
        let table = table(&[("pc.ram", 0x4000), ("/rom", 0), ("pc.bios", 0x1000)]).unwrap();
        for (name, len) in [("pc.ram", 0x4000), ("/rom", 0), ("pc.bios", 0x1000)] {
            let (found, found_len) = table.find(name.as_bytes()).unwrap();
            assert_eq!((found.as_str(), found_len), (name, len));
        }
        for name in ["", "pc", "pc.ram2", "\u{ff}"] {
            assert!(table.find(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn tables_that_cannot_be() {
        assert!(matches!(
            table(&[("a", 0x1000), ("b", 0x1000), ("a", 0)]),
            Err(MemoryError::DuplicateName { .. })
        ));
        assert!(matches!(
            table(&[("a", 0x1001)]),
            Err(MemoryError::Length { .. })
        ));
    }
}
