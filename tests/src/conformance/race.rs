// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that runs on while its memory is sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use multifd_core::{PageSize, RamBlock};

use super::{Guest, Kind, PageSource, Subject, fill, pack, setup, unpack};

/// Sends pages that another thread writes to all the while. Every payload still decodes; pages
/// that nobody writes to come out right, and nothing outside of the packet is written.
///
/// # Errors
/// What was refused or came out wrong.
pub fn check(subject: &Subject) -> Result<()> {
    let page_size = PageSize::X86;
    let most = page_size.pages_per_packet();
    let source = Guest::with(page_size, &fill(7, page_size.bytes(), most))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut pages = PageSource::new(8);
            while !stop.load(Ordering::Relaxed) {
                scribble(&source.block, &mut pages);
            }
        });
        let result = send(subject, &source);
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn send(subject: &Subject, source: &Guest) -> Result<()> {
    let page_size = source.page_size;
    let setup = setup(page_size)?;
    let mut sender = subject.method.send_setup(&setup)?;
    let mut receiver = subject.method.recv_setup(&setup)?;
    let offsets: Vec<u64> = (0..page_size.pages_per_packet())
        .map(|page| source.offset(page))
        .collect();
    for number in 0..PACKETS {
        let payload = pack(&mut *sender, source, &offsets)?;
        let target = Guest::untouched(page_size, 2 * offsets.len())?;
        unpack(&mut *receiver, &payload, &target, &offsets)?
            .filled()
            .with_context(|| format!("packet {number}"))?;
        for (page, offset) in offsets.iter().enumerate() {
            let right = target.page(*offset)? == source.page(*offset)?;
            ensure!(
                right || is_written(page),
                "packet {number}: page {page} came out wrong"
            );
        }
    }
    Ok(())
}

/// Writes to one of the pages as a guest does: a few bytes, or all of it.
fn scribble(block: &RamBlock, pages: &mut PageSource) {
    let number = pages.below(PageSize::X86.pages_per_packet());
    let start = PageSize::X86.bytes_u64() * number as u64;
    if !is_written(number) {
        return;
    }
    let mut bytes = [0; 4096];
    let kind = Kind::ALL.get(pages.below(Kind::ALL.len()));
    pages.fill(*kind.unwrap_or(&Kind::Random), &mut bytes);
    let at = pages.below(bytes.len());
    let len = if pages.below(2) == 0 { bytes.len() } else { 16 };
    let len = len.min(bytes.len() - at);
    if let Some(span) = block.span(start + at as u64, len) {
        span.copy_from(&bytes);
    }
}

/// Whether the guest writes to the page.
fn is_written(page: usize) -> bool {
    !page.is_multiple_of(3)
}

const PACKETS: usize = 40;
