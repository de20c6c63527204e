// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Random holes, random data, and writes at the worst moments.

use anyhow::{Context as _, Result, ensure};
use migration_params::ZeroPageDetection;
use proptest::prelude::*;

use crate::rig::{Host, Kind, Memory, PAGE, migrate};

/// Two chunks of pages that a round takes at once, and a part of a third.
const PAGES: u64 = 2 * 4096 + 100;

/// What happens to the guest.
#[derive(Debug)]
struct Case {
    kind: Kind,
    zero_pages: ZeroPageDetection,
    /// Runs of pages with something in them before the migration.
    data: Vec<(u64, u64)>,
    /// What the destination's memory has before.
    stale: Vec<(u64, u64)>,
    /// Pages that are written to just before the pages of a chunk are looked at, with what: of this chunk, of one that
    /// has been looked at but perhaps not sent, of one that comes later.
    writes: Vec<(u64, u8)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let runs = || prop::collection::vec((0..PAGES, 1_u64..300), 0..8);
    let kind = prop_oneof![Just(Kind::Shared), Just(Kind::Anonymous)];
    let zero_pages = prop_oneof![
        4 => Just(ZeroPageDetection::Multifd),
        2 => Just(ZeroPageDetection::Legacy),
        1 => Just(ZeroPageDetection::None),
    ];
    let writes = prop::collection::vec((0..PAGES, any::<u8>()), 0..60);
    (kind, zero_pages, runs(), runs(), writes).prop_map(
        |(kind, zero_pages, data, stale, writes)| Case {
            kind,
            zero_pages,
            data,
            stale,
            writes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn all_that_was_written_arrives(case in cases()) {
        arrives(&case).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }
}

fn arrives(case: &Case) -> Result<()> {
    let source = Memory::new(case.kind, PAGES)?;
    let destination = Memory::new(case.kind, PAGES)?;
    fill(&source, &case.data, 3)?;
    fill(&destination, &case.stale, 5)?;
    let from = source.guest()?;
    let mut host = Host::new(&from);
    let (block, _) = from.indexed().next().context("a block")?;
    // A third of the writes with each chunk of the first round; whatever is written makes another round.
    let mut writes = case.writes.chunks(case.writes.len().div_ceil(3).max(1));
    let (memory, block) = (&source, block);
    host.on_clear = Box::new(move |log, _| {
        for (page, byte) in writes.next().unwrap_or_default() {
            // All of the pages are in the block.
            assert!(memory.fill(*page, *byte).is_ok());
            log.mark_range(block, page * PAGE, PAGE);
        }
    });
    migrate(case.zero_pages, &from, &mut host, &destination.guest()?)?;
    for page in 0..PAGES {
        let (got, want) = (destination.byte(page)?, source.byte(page)?);
        ensure!(got == want, "page {page} is {got}, the guest has {want}");
    }
    Ok(())
}

fn fill(memory: &Memory, runs: &[(u64, u64)], byte: u8) -> Result<()> {
    for (first, count) in runs {
        for page in *first..(first + count).min(PAGES) {
            memory.fill(page, byte)?;
        }
    }
    Ok(())
}
