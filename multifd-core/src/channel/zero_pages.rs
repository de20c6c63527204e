//! Finding the zero pages of a batch.

use crate::geometry::PageSize;
use crate::memory::RamBlock;

/// Sorts a batch into normal pages and zero pages. The order inside each kind stays, so that runs
/// of adjacent pages stay whole.
#[derive(Debug)]
pub(super) struct ZeroPages {
    zero: Vec<u64>,
    page_size: PageSize,
}

impl ZeroPages {
    pub(super) fn new(page_size: PageSize) -> Self {
        Self {
            zero: Vec::with_capacity(page_size.pages_per_packet()),
            page_size,
        }
    }

    /// Moves the offsets of zero pages behind those of normal pages and answers how many are
    /// normal. A page outside of the block counts as normal; who sends it will notice.
    pub(super) fn partition(&mut self, block: &RamBlock, offsets: &mut Vec<u64>) -> usize {
        self.zero.clear();
        offsets.retain(|offset| {
            let page = block.span(*offset, self.page_size.bytes());
            let zero = page.is_some_and(|page| page.is_zero());
            if zero {
                self.zero.push(*offset);
            }
            !zero
        });
        let normal = offsets.len();
        offsets.extend_from_slice(&self.zero);
        normal
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::Mapping;
    use crate::wire::BlockName;

    proptest! {
        #[test]
        fn as_a_naive_stable_partition(content in prop::collection::vec(any::<bool>(), 1..128)) {
            let region = Arc::new(Mapping::anonymous(content.len() * 4096).unwrap());
            let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
            let mut offsets: Vec<u64> = Vec::new();
            for (offset, is_normal) in (0..).step_by(4096).zip(&content) {
                offsets.push(offset);
                if *is_normal {
                    block.span(offset + 4095, 1).unwrap().copy_from(&[1]);
                }
            }
            let is_normal = |offset: &u64| content[usize::try_from(offset / 4096).unwrap()];
            let (normal, zero): (Vec<u64>, Vec<u64>) = offsets.iter().partition(|o| is_normal(o));

            let count = ZeroPages::new(PageSize::X86).partition(&block, &mut offsets);
            prop_assert_eq!(count, normal.len());
            prop_assert_eq!(offsets, [normal, zero].concat());
        }
    }
}
