// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is where in RAM. All numbers are places in RAM, which the guest sees in a row.
//!
//! | place | what |
//! |---|---|
//! | `0x1000` | segment descriptors |
//! | `0x2000` | the program |
//! | `0x3000` | page tables: one of the fourth level, one of the third |
//! | `0x8000` | a control block for each vCPU |
//! | `0x10000` | page tables of the second level: one for each GiB |
//! | then | the table of sums: 8 bytes for each page of the working set |
//! | then | the working set, divided among the vCPUs |
//! | the rest | content that is migrated and stays as it is |

use multifd_core::PageSize;

use crate::{Error, Workload};

/// Where the parts of a guest are that have no fixed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Page tables of the second level.
    pub(crate) tables: u64,
    /// The table of sums.
    pub(crate) sums: u64,
    /// The first page of the working set.
    pub(crate) set: u64,
    /// Pages of the working set.
    pub(crate) pages: u64,
    vcpus: u64,
}

/// The part of the working set that is one vCPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Its first page.
    pub(crate) first: u64,
    pub(crate) pages: u64,
    /// The sums of its pages.
    pub(crate) sums: u64,
}

impl Layout {
    pub(crate) fn new(memory: u64, vcpus: u32, workload: &Workload) -> Result<Self, Error> {
        let vcpus = u64::from(vcpus);
        if !(1..=MOST_VCPUS).contains(&vcpus) {
            let what = format!("{vcpus} vCPUs, wanted 1 to {MOST_VCPUS}");
            return Err(Error::Config(what));
        }
        if !PageSize::X86.is_aligned(memory) || memory > MOST_MEMORY {
            let what = format!("{memory:#x} bytes of memory, wanted pages, up to 512 GiB");
            return Err(Error::Config(what));
        }
        let tables = memory.div_ceil(1 << 30);
        let pages = workload.working_set.min(memory) / PAGE;
        let sums = TABLES + tables * PAGE;
        let set = (sums + pages * 8).next_multiple_of(PAGE);
        if pages < vcpus || set + pages * PAGE > memory {
            let what = format!(
                "a working set of {pages} pages does not fit into {memory:#x} bytes of memory \
                 with {vcpus} vCPUs: take a smaller one, or more memory"
            );
            return Err(Error::Config(what));
        }
        Ok(Self {
            tables,
            sums,
            set,
            pages,
            vcpus,
        })
    }

    pub(crate) fn slice(&self, vcpu: u64) -> Slice {
        let start = |vcpu: u64| self.pages * vcpu / self.vcpus;
        let (from, to) = (start(vcpu), start(vcpu + 1));
        Slice {
            first: self.set + from * PAGE,
            pages: to - from,
            sums: self.sums + from * 8,
        }
    }
}

/// The control block of a vCPU.
pub(crate) fn control(vcpu: usize) -> u64 {
    CONTROL + CONTROL_LEN * vcpu as u64
}

/// What is where in a control block.
pub(crate) mod field {
    /// Address of the first page to write to.
    pub(crate) const FIRST: u64 = 0;
    /// How many there are.
    pub(crate) const PAGES: u64 = 8;
    /// Address of their sums.
    pub(crate) const SUMS: u64 = 16;
    /// [`Pattern::number`](crate::Pattern::number).
    pub(crate) const PATTERN: u64 = 24;
    /// State of the choice of pages.
    pub(crate) const STATE: u64 = 32;
    /// Pages written to so far.
    pub(crate) const WRITTEN: u64 = 40;
    /// Commands so far, written by the device that gives them.
    pub(crate) const TICKET: u64 = 48;
    /// Next page to check.
    pub(crate) const CURSOR: u64 = 56;
    /// Pages checked so far by command.
    pub(crate) const CHECKED: u64 = 64;
    /// Address of the block.
    pub(crate) const SELF: u64 = 72;
    /// 16 bytes that are in a register from the start on.
    pub(crate) const COOKIE: u64 = 96;
}

/// Distance of the words of a page that make its sum, and how many there are.
pub(crate) const SUM_STEP: u64 = 0x200;
pub(crate) const SUM_WORDS: u64 = 8;

pub(crate) const PAGE: u64 = PageSize::X86.bytes() as u64;
pub(crate) const DESCRIPTORS: u64 = 0x1000;
pub(crate) const CODE: u64 = 0x2000;
pub(crate) const TOP_TABLES: u64 = 0x3000;
pub(crate) const TABLES: u64 = 0x1_0000;
const CONTROL: u64 = 0x8000;
const CONTROL_LEN: u64 = 0x100;
/// As many as the control blocks have room for.
const MOST_VCPUS: u64 = (TABLES - CONTROL) / CONTROL_LEN;
/// What one table of the third level maps.
const MOST_MEMORY: u64 = 512 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    fn layout(memory: u64, vcpus: u32, working_set: u64) -> Result<Layout, Error> {
        let workload = Workload {
            rate: None,
            pattern: Pattern::Random,
            working_set,
        };
        Layout::new(memory, vcpus, &workload)
    }

    #[test]
    fn slices_make_the_working_set() {
        let layout = layout(64 << 20, 3, 1000 * PAGE).unwrap();
        let mut next = layout.set;
        for vcpu in 0..3 {
            let slice = layout.slice(vcpu);
            assert_eq!(slice.first, next);
            assert_eq!(slice.sums, layout.sums + (next - layout.set) / PAGE * 8);
            next += slice.pages * PAGE;
        }
        assert_eq!(next, layout.set + 1000 * PAGE);
        assert!(layout.sums + 8000 <= layout.set);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(layout(64 << 20, 1, 63 << 20).is_ok());
        for (memory, vcpus, set) in [
            (64 << 20, 1, 64 << 20),
            (64 << 20, 0, 1 << 20),
            (64 << 20, 129, 1 << 20),
            (64 << 20, 2, PAGE),
            (1000, 1, PAGE),
            (1 << 40, 1, PAGE),
        ] {
            assert!(
                layout(memory, vcpus, set).is_err(),
                "{memory:#x} {vcpus} {set:#x}"
            );
        }
    }
}
