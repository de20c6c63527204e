// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How fast zero pages are found, on one core, in memory larger than any cache.

#![expect(clippy::print_stdout, reason = "a figure is what this program is for")]

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use multifd_core::RamBlock;
use multifd_core::memory::{Access, Mapping};
use multifd_core::wire::BlockName;

const BYTES: usize = 1 << 30;
const PAGE: usize = 4096;
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let name = BlockName::new("ram").context("a name")?;
    let block = RamBlock::new(name, Arc::new(Mapping::anonymous(BYTES)?))?;
    let whole = block.span(0, BYTES).context("the block")?;
    // Memory of its own for every page: what was never written is one page of zeros many times.
    whole.populate(Access::Write)?;
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let pages = (0..BYTES as u64)
            .step_by(PAGE)
            .filter_map(|offset| block.span(offset, PAGE));
        let zero = pages.filter(|page| page.is_zero()).count();
        best = best.min(start.elapsed().as_secs_f64());
        ensure!(
            zero == BYTES / PAGE,
            "{zero} zero pages of {}",
            BYTES / PAGE
        );
    }
    println!(
        "{:.1} GiB/s of zero pages on one core",
        BYTES as f64 / best / f64::from(1 << 30)
    );
    Ok(())
}
