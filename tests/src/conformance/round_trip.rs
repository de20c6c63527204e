// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes in comes out, and nothing else is written.

use anyhow::{Context, Result, ensure};
use multifd_core::PageSize;

use super::{Guest, Kind, PageSource, Subject, fill, pack, setup, unpack};

/// Packets of every kind of page, of every size of page, adjacent and scattered.
///
/// # Errors
/// What did not come out as it went in.
pub fn check(subject: &Subject) -> Result<()> {
    for page_size in page_sizes() {
        let most = page_size.pages_per_packet();
        for kind in Kind::ALL {
            let mut content = vec![0; page_size.bytes() * most];
            let mut source = PageSource::new(most as u64);
            for page in content.chunks_mut(page_size.bytes()) {
                source.fill(kind, page);
            }
            let guest = Guest::with(page_size, &content)?;
            for pages in [vec![0], (0..most).collect()] {
                let count = pages.len();
                send(subject, &guest, &[pages])
                    .with_context(|| format!("{count} {kind:?} pages of {page_size}"))?;
            }
        }
        let guest = Guest::with(page_size, &fill(2, page_size.bytes(), 2 * most))?;
        for pages in shapes(most) {
            let list = format!("pages {pages:?} of {page_size}");
            send(subject, &guest, &[pages]).context(list)?;
        }
    }
    Ok(())
}

/// Packets of all sizes, one after the other, through the state of one channel; the same pages
/// again too, since a method may refer to what it sent before.
///
/// # Errors
/// What did not come out as it went in.
pub fn check_channel(subject: &Subject) -> Result<()> {
    let page_size = PageSize::X86;
    let most = page_size.pages_per_packet();
    let guest = Guest::with(page_size, &fill(3, page_size.bytes(), 2 * most))?;
    let mut source = PageSource::new(4);
    let mut packets = vec![(0..most).collect(), (0..most).collect(), vec![7], vec![7]];
    for _ in 0..24 {
        let chance = 1 + source.below(8);
        let mut pages: Vec<usize> = (0..2 * most)
            .filter(|_| source.below(chance) == 0)
            .collect();
        pages.truncate(most);
        if !pages.is_empty() {
            packets.push(pages);
        }
    }
    send(subject, &guest, &packets)
}

/// Sends packets through one channel to a guest, and checks each of them.
fn send(subject: &Subject, source: &Guest, packets: &[Vec<usize>]) -> Result<()> {
    let page_size = source.page_size;
    let setup = setup(page_size)?;
    let mut sender = subject.method.send_setup(&setup)?;
    let mut receiver = subject.method.recv_setup(&setup)?;
    for (number, pages) in packets.iter().enumerate() {
        let offsets: Vec<u64> = pages.iter().map(|page| source.offset(*page)).collect();
        let payload = pack(&mut *sender, source, &offsets)?;
        let limits = receiver.payload_limits(pages.len());
        ensure!(
            limits.contains(&payload.len()),
            "packet {number}: {} bytes, but the receiver takes {limits:?}",
            payload.len()
        );
        let target = Guest::untouched(page_size, 2 * page_size.pages_per_packet())?;
        unpack(&mut *receiver, &payload, &target, &offsets)?
            .filled()
            .and_then(|()| target.ensure_received(source, &offsets))
            .with_context(|| format!("packet {number} of {} pages", pages.len()))?;
    }
    Ok(())
}

fn page_sizes() -> impl Iterator<Item = PageSize> {
    [0x1000, 0x4000, 0x10000]
        .into_iter()
        .filter_map(PageSize::new)
}

/// Lists of pages in a guest of twice as many pages as fit into a packet.
fn shapes(most: usize) -> [Vec<usize>; 6] {
    [
        vec![2 * most - 1],
        vec![0, 2 * most - 1],
        (0..most).map(|page| 2 * page).collect(),
        (0..most).map(|page| page + most / 2).collect(),
        (0..most).rev().collect(),
        (0..2 * most).filter(|page| page % 5 < 2).collect(),
    ]
}
