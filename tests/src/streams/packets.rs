// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes over a channel, with the method `none`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::plan::Stream;
use crate::by_hand::Packet;
use crate::by_hand::packet::{SYNC, init_of};

/// All of a channel of so many: every page whose number leaves `channel` when it is divided by their count, each in a
/// packet of its own, between the two barriers of [`Stream::main`].
#[must_use]
pub fn channel(stream: &Stream, channel: u8, channels: u8) -> Vec<u8> {
    let mut bytes = init_of(stream.uuid, channel);
    bytes.extend(packet(stream, (SYNC, 0), &[], None));
    let mut number = 0;
    if stream.has_part() {
        number += 1;
        bytes.extend(packet(stream, (SYNC, number), &[], None));
    }
    for block in &stream.blocks {
        for (index, page) in block.content.chunks(stream.page_size).enumerate() {
            number += 1;
            if number % u64::from(channels) == u64::from(channel) {
                let offset = (index * stream.page_size) as u64;
                bytes.extend(packet(
                    stream,
                    (0, number),
                    &block.name,
                    Some((offset, page)),
                ));
            }
        }
    }
    bytes.extend(packet(stream, (SYNC, number + 1), &[], None));
    bytes
}

fn packet(
    stream: &Stream,
    (flags, number): (u32, u64),
    block: &[u8],
    page: Option<(u64, &[u8])>,
) -> Vec<u8> {
    let (offset, page) = page.unzip();
    let packet = Packet {
        flags,
        number,
        most_pages: pages_of(stream.page_size),
        normal: offset.into_iter().collect(),
        name: block.to_vec(),
        payload: page.unwrap_or_default().to_vec(),
        ..Packet::default()
    };
    packet.bytes()
}

/// Most pages of a packet.
fn pages_of(page_size: usize) -> usize {
    (512 * 1024) / page_size
}

/// The memory that channels carry, by block, of which each page must come. The last content of a page counts.
///
/// # Errors
/// The bytes are not those of channels of this guest with the method `none`.
pub fn memory<'c>(
    stream: &Stream,
    channels: impl IntoIterator<Item = &'c Vec<u8>>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut pages: BTreeMap<(Vec<u8>, u64), Vec<u8>> = BTreeMap::new();
    for channel in channels {
        ensure!(channel.get(8..24) == Some(&stream.uuid), "another UUID");
        let mut rest = channel.get(64..).context("no initial packet")?;
        while !rest.is_empty() {
            rest = read_packet(stream.page_size, rest, &mut pages)?;
        }
    }
    let mut memory: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for ((block, offset), page) in pages {
        let block = memory.entry(block).or_default();
        ensure!(block.len() as u64 == offset, "a page is missing");
        block.extend(page);
    }
    Ok(memory)
}

/// Reads a packet, and answers what is behind it.
fn read_packet<'b>(
    page_size: usize,
    bytes: &'b [u8],
    pages: &mut BTreeMap<(Vec<u8>, u64), Vec<u8>>,
) -> Result<&'b [u8]> {
    let header_len = 320 + 8 * pages_of(page_size);
    let (header, mut rest) = bytes.split_at_checked(header_len).context("a header")?;
    let number = |at: usize| -> Result<usize> {
        let field = header
            .get(at..at + 4)
            .and_then(|field| field.try_into().ok());
        Ok(usize::try_from(u32::from_be_bytes(
            field.context("a field")?,
        ))?)
    };
    ensure!(number(0)? == 0x1122_3344, "no packet: {:x}", number(0)?);
    let (normal, zero) = (number(16)?, number(32)?);
    ensure!(number(20)? == normal * page_size, "the payload's length");
    let name = header.get(64..320).context("a name")?;
    let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
    let (offsets, _) = header.get(320..).context("offsets")?.as_chunks::<8>();
    for (index, offset) in offsets.iter().take(normal + zero).enumerate() {
        let mut page = vec![0; page_size];
        if index < normal {
            let (content, more) = rest.split_at_checked(page_size).context("a page")?;
            page.copy_from_slice(content);
            rest = more;
        }
        pages.insert((name.clone(), u64::from_be_bytes(*offset)), page);
    }
    Ok(rest)
}
