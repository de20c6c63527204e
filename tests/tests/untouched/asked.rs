// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! When memory is asked what of it has been touched.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use migration_params::ZeroPageDetection;
use multifd_core::memory::{Mapping, RamRegion};
use multifd_core::{GuestMemory, PageSize, RamBlock};
use parking_lot::Mutex;

use crate::rig::{Host, Kind, Memory, PAGE, PAGE_LEN, migrate, name};

const PAGES: u64 = 3 * 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// A chunk from this page on is about to be sent.
    Cleared(u64),
    /// These pages were asked about.
    Asked(Range<u64>),
}

/// Memory that says that nobody has touched it, and notes that it was asked.
struct Notes {
    mapping: Mapping,
    told: Arc<Mutex<Vec<Told>>>,
}

#[expect(unsafe_code, reason = "memory of a host's own")]
// SAFETY: the bytes are those of the mapping, which lives as long.
unsafe impl RamRegion for Notes {
    fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    fn len(&self) -> usize {
        self.mapping.len()
    }

    fn for_each_touched(&self, range: Range<u64>, _: &mut dyn FnMut(Range<u64>)) {
        let pages = range.start / PAGE..range.end / PAGE;
        self.told.lock().push(Told::Asked(pages));
    }
}

/// Each page once, after the log was told; what is written then comes from the log, whatever the memory says.
#[test]
fn a_source_asks_once_for_each_page_after_the_log() -> Result<()> {
    for zero_pages in [ZeroPageDetection::Multifd, ZeroPageDetection::Legacy] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mapping = Mapping::anonymous(usize::try_from(PAGES * PAGE)?)?;
        let region = Notes {
            mapping,
            told: Arc::clone(&told),
        };
        let block = RamBlock::new(name()?, Arc::new(region))?;
        let from = GuestMemory::new(PageSize::X86, vec![block.clone()])?;
        let (index, _) = from.indexed().next().context("a block")?;
        let mut host = Host::new(&from);
        let (notes, mut first_round) = (Arc::clone(&told), 3);
        host.on_clear = Box::new(move |log, first_page| {
            notes.lock().push(Told::Cleared(first_page));
            // A page before each chunk of the first round is looked at.
            if first_round > 0 {
                first_round -= 1;
                let page = first_page + 7;
                if let Some(span) = block.span(page * PAGE, PAGE_LEN) {
                    span.copy_from(&[1; PAGE_LEN]);
                }
                log.mark_range(index, page * PAGE, PAGE);
            }
        });
        let destination = Memory::new(Kind::Anonymous, PAGES)?;
        migrate(zero_pages, &from, &mut host, &destination.guest()?)?;
        for page in 0..PAGES {
            let want = u8::from(page % 4096 == 7);
            ensure!(destination.byte(page)? == want, "page {page}");
        }
        let chunks = [0, 4096, 8192];
        let first: Vec<_> = chunks
            .iter()
            .flat_map(|page| [Told::Cleared(*page), Told::Asked(*page..page + 4096)])
            .collect();
        let told = told.lock();
        ensure!(told.starts_with(&first), "{told:?}");
        let mut later = told.iter().skip(first.len());
        let asked_again = later.any(|told| matches!(told, Told::Asked(_)));
        ensure!(!asked_again, "{told:?}");
    }
    Ok(())
}
