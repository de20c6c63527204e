// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What it costs to write-protect dirty pages again in a round over a guest of 1 TiB, in pieces of 4096 pages and in
//! the ones that the dirty log takes.
//!
//! KVM is simulated: its bitmaps are kept as it keeps them, and its calls are counted. Each call costs a real VM a
//! system call, a lock that page faults want, and a flush of all vCPUs' TLBs, which come on top of the time that is shown.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin dirty-clear
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_kvm::{KvmDirtyLog, SlotCalls, SlotPlace};
use multifd_migration::dirty::{DirtyBitmap, DirtyLog, Walk};

/// Bytes of the guest.
const BYTES: u64 = 1 << 40;
const PAGES: u64 = BYTES / 4096;
/// Of which the fastest is shown.
const RUNS: u32 = 5;

fn main() -> Result<()> {
    let file = tempfile::tempfile()?;
    file.set_len(BYTES)?;
    let region = Mapping::shared(file.as_fd(), usize::try_from(BYTES)?)?;
    let block = RamBlock::new(BlockName::new("ram").context("a name")?, Arc::new(region))?;
    let memory = GuestMemory::new(PageSize::X86, vec![block])?;

    println!("| dirty pages of 1 TiB | pieces of | calls | ms |");
    println!("|---|---|---|---|");
    for (what, step) in [
        ("all", 1),
        ("one in 64", 64),
        ("one in 1000", 1000),
        ("one in 4096", 4096),
        ("one in 100000", 100_000),
    ] {
        for (pieces, stride) in [("4096 pages", Some((1, 4096))), ("up to 1 GiB", None)] {
            let mut fastest = (0, Duration::MAX);
            for _ in 0..RUNS {
                let (calls, time) = round(&memory, stride, step)?;
                fastest = (calls, time.min(fastest.1));
            }
            let (calls, time) = fastest;
            let millis = time.as_secs_f64() * 1e3;
            println!("| {what} | {pieces} | {calls} | {millis:.1} |");
        }
    }
    Ok(())
}

/// A round over a guest that has written to each `step`th page: its calls and its time.
fn round(memory: &GuestMemory, stride: Option<(u64, u64)>, step: u64) -> Result<(usize, Duration)> {
    let (block, _) = memory.indexed().next().context("a block")?;
    let place = SlotPlace {
        slot: 0,
        block,
        offset: 0,
        len: BYTES,
    };
    let kvm = Rc::new(Kvm::new(step)?);
    let mut log = KvmDirtyLog::over(Calls(Rc::clone(&kvm)), memory, vec![place])?;
    if let Some((dirty, pages)) = stride {
        log = log.clear_at_once(dirty, pages);
    }
    log.start().map_err(anyhow::Error::from_boxed)?;
    // As after the first round, in which all was dirty.
    let mut dirty = DirtyBitmap::dirty(PAGES);
    let mut from = 0;
    while dirty.take_chunk(&mut from).is_some() {}
    log.harvest(block, &mut dirty)
        .map_err(anyhow::Error::from_boxed)?;
    let (found, mut sent) = (dirty.dirty_pages(), 0);

    let start = Instant::now();
    let mut walk = Walk::new(block);
    while let Some(chunk) = walk
        .next(&mut dirty, Some(&mut log))
        .map_err(anyhow::Error::from_boxed)?
    {
        sent += chunk.runs().map(|run| run.pages).sum::<u64>();
    }
    let time = start.elapsed();

    ensure!(found == PAGES.div_ceil(step) && sent == found);
    ensure!(
        kvm.noted.borrow().iter().all(|word| *word == 0),
        "not all is protected"
    );
    log.stop();
    Ok((kvm.calls.get(), time))
}

/// A slot's bitmap, in the kernel's byte order.
struct Kvm {
    noted: RefCell<Vec<u64>>,
    calls: Cell<usize>,
}

impl Kvm {
    /// Each `step`th page was written to.
    fn new(step: u64) -> Result<Self> {
        let mut noted = vec![0; usize::try_from(PAGES / 64)?];
        for page in (0..PAGES).step_by(usize::try_from(step)?) {
            if let Some(word) = noted.get_mut(usize::try_from(page / 64)?) {
                *word |= (1_u64 << (page % 64)).to_le();
            }
        }
        Ok(Self {
            noted: RefCell::new(noted),
            calls: Cell::new(0),
        })
    }
}

struct Calls(Rc<Kvm>);

impl SlotCalls for Calls {
    fn log_writes(&self, _: u32, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn dirty_log(&self, _: u32, words: &mut [u64]) -> io::Result<()> {
        words.copy_from_slice(&self.0.noted.borrow());
        Ok(())
    }

    fn clear_dirty_log(&self, _: u32, first: u64, pages: u32, words: &[u64]) -> io::Result<()> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
        if !first.is_multiple_of(64) || !pages.is_multiple_of(64) {
            return Err(wrong());
        }
        let at = usize::try_from(first / 64).map_err(|_| wrong())?;
        let mut noted = self.0.noted.borrow_mut();
        let noted = noted.get_mut(at..at + words.len()).ok_or_else(wrong)?;
        let words = noted.iter_mut().zip(words);
        // As the kernel does, which does not look where nothing is to be cleared.
        for (noted, word) in words.filter(|(_, word)| **word != 0) {
            *noted &= !word;
        }
        self.0.calls.set(self.0.calls.get() + 1);
        Ok(())
    }

    fn has_manual_protect(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn set_manual_protect(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}
