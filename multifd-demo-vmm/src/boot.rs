// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a guest begins: what is in its memory before it runs.

use crate::layout::{
    self, CODE, DESCRIPTORS, Layout, PAGE, SUM_STEP, SUM_WORDS, TOP_TABLES, field,
};
use crate::memory::{Memory, address};
use crate::program::PROGRAM;
use crate::{Error, Workload};

/// Puts a guest into memory, which keeps its content but for what [`Layout`] has a place for.
pub(crate) fn load(
    memory: &Memory,
    layout: &Layout,
    vcpus: u32,
    workload: &Workload,
) -> Result<(), Error> {
    let zeros = vec![0; usize::try_from(layout.set).map_err(Error::memory)?];
    memory.write(0, &zeros)?;
    memory.write(CODE, PROGRAM)?;
    for (at, descriptor) in (0..).zip(SEGMENTS) {
        memory.store(DESCRIPTORS + at * 8, descriptor)?;
    }
    page_tables(memory, layout)?;
    sums(memory, layout)?;
    (0..vcpus).try_for_each(|vcpu| control_block(memory, layout, vcpu, workload))
}

/// Maps RAM in a row, 2 MiB at a time.
fn page_tables(memory: &Memory, layout: &Layout) -> Result<(), Error> {
    let third = TOP_TABLES + PAGE;
    memory.store(TOP_TABLES, third | PRESENT_WRITABLE)?;
    for table in 0..layout.tables {
        let second = layout::TABLES + table * PAGE;
        memory.store(third + table * 8, second | PRESENT_WRITABLE)?;
        for entry in 0..512 {
            let linear = (table * 512 + entry) << 21;
            let page = address(linear).0 | PRESENT_WRITABLE | LARGE;
            memory.store(second + entry * 8, page)?;
        }
    }
    Ok(())
}

/// Adds up all pages of the working set.
fn sums(memory: &Memory, layout: &Layout) -> Result<(), Error> {
    for page in 0..layout.pages {
        let mut sum: u64 = 0;
        for word in 0..SUM_WORDS {
            sum = sum.wrapping_add(memory.load(layout.set + page * PAGE + word * SUM_STEP)?);
        }
        memory.store(layout.sums + page * 8, sum)?;
    }
    Ok(())
}

fn control_block(
    memory: &Memory,
    layout: &Layout,
    vcpu: u32,
    workload: &Workload,
) -> Result<(), Error> {
    let block = layout::control(vcpu as usize);
    let slice = layout.slice(vcpu.into());
    let seed = u64::from(vcpu) + 1;
    for (field, value) in [
        (field::FIRST, slice.first),
        (field::PAGES, slice.pages),
        (field::SUMS, slice.sums),
        (field::PATTERN, workload.pattern.number()),
        // A sequence begins with its first page.
        (
            field::STATE,
            if workload.pattern.number() == 0 {
                0
            } else {
                seed
            },
        ),
        (field::SELF, block),
        (field::COOKIE, COOKIE ^ seed),
        (field::COOKIE + 8, !COOKIE ^ seed),
    ] {
        memory.store(block + field, value)?;
    }
    Ok(())
}

/// Descriptors of segments: none, 64-bit code, data.
const SEGMENTS: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const PRESENT_WRITABLE: u64 = 0b11;
/// An entry of the second level that maps 2 MiB.
const LARGE: u64 = 1 << 7;
/// Any bits.
const COOKIE: u64 = 0x6d75_6c74_6966_6421;
