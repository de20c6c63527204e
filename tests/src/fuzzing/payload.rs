// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The payloads of one channel, as each method reads them.

use anyhow::{Context, Result};
use multifd_core::method::Accelerator;
use multifd_core::{MethodFactory, MethodOptions, PageSize};

use super::Target;
use crate::conformance::recorded::{self, Folder};
use crate::conformance::{Guest, Verdict, fill, pack_all, setup, unpack};

macro_rules! target {
    ($name:literal, $factory:expr, $folder:expr) => {
        Target {
            name: $name,
            run: |bytes| receive(&$factory, bytes).unwrap_or(false),
            seeds: || seeds(&$factory, $folder),
        }
    };
}

/// Pages as they are.
pub(super) const NONE: Target = target!("none", multifd_none::NoneFactory, Some("none-qemu-10.0"));
/// One deflate stream per channel.
pub(super) const ZLIB: Target = target!("zlib", multifd_zlib::ZlibFactory, Some("zlib-qemu-10.0"));
/// zstd frames.
pub(super) const ZSTD: Target = target!("zstd", multifd_zstd::ZstdFactory, Some("zstd-qemu-10.0"));
/// gzip members.
pub(super) const QATZIP: Target = target!(
    "qatzip",
    multifd_qatzip::QatzipFactory,
    Some("qatzip-qemu-10.2")
);
/// A table of lengths and deflate streams.
pub(super) const QPL: Target = target!("qpl", multifd_qpl::QplFactory, Some("qpl-qemu-10.2"));
/// A table of lengths and zlib streams. No recorded migration has any.
pub(super) const UADK: Target = target!("uadk", multifd_uadk::UadkFactory::default(), None);

const PAGE_SIZE: PageSize = PageSize::X86;
const MOST_PAGES: usize = PAGE_SIZE.pages_per_packet();

/// Reads packet after packet: four bytes, of which the first is the number of pages less one, and the
/// others are the length of the payload that follows. Answers whether all of them were taken.
///
/// Whatever a payload says, no page besides the packet's own is written.
fn receive(factory: &dyn MethodFactory, mut bytes: &[u8]) -> Result<bool> {
    let method = factory.open(&software())?;
    let mut receiver = method.recv_setup(&setup(PAGE_SIZE)?)?;
    // One page before those of the packet, and one after them.
    let guest = Guest::new(PAGE_SIZE, MOST_PAGES + 2)?;
    let offsets = guest.offsets();
    while let Some(([pages, len @ ..], rest)) = bytes.split_first_chunk::<4>() {
        let pages = 1 + usize::from(*pages) % MOST_PAGES;
        let [high, middle, low] = len.map(usize::from);
        let len = rest.len().min(high << 16 | middle << 8 | low);
        let (payload, rest) = rest.split_at(len);
        let packet = offsets.get(1..=pages).context("pages")?;
        let verdict = unpack(&mut *receiver, payload, &guest, packet)?;
        for outside in [0, pages + 1] {
            let page = guest.page(guest.offset(outside))?;
            assert!(
                page.iter().all(|byte| *byte == 0),
                "page {outside} was written"
            );
        }
        if verdict != Verdict::Filled {
            return Ok(false);
        }
        for offset in packet {
            guest.write(*offset, &[0; PAGE_SIZE.bytes()])?;
        }
        bytes = rest;
    }
    Ok(true)
}

/// Small packets of this project, and the first ones of a real QEMU.
fn seeds(factory: &dyn MethodFactory, folder: Option<&str>) -> Result<Vec<Vec<u8>>> {
    let method = factory.open(&software())?;
    let mut seeds = Vec::new();
    for per_packet in [1, 3, 8] {
        let guest = Guest::with(PAGE_SIZE, &fill(3, PAGE_SIZE.bytes(), 3 * per_packet))?;
        let mut seed = Vec::new();
        for payload in pack_all(&*method, &guest, per_packet)? {
            append(&mut seed, per_packet, &payload)?;
        }
        seeds.push(seed);
    }
    let Some(folder) = folder else {
        return Ok(seeds);
    };
    let packets = recorded::packets(&Folder::new(folder).channel(0)?)?;
    let mut seed = Vec::new();
    let full = packets.iter().filter(|packet| !packet.normal.is_empty());
    for packet in full.take(2) {
        append(&mut seed, packet.normal.len(), &packet.payload)?;
    }
    seeds.push(seed);
    Ok(seeds)
}

/// This project's own decoders, wherever the fuzzer runs.
fn software() -> MethodOptions {
    MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software)
}

fn append(seed: &mut Vec<u8>, pages: usize, payload: &[u8]) -> Result<()> {
    seed.push(u8::try_from(pages - 1)?);
    let len = u32::try_from(payload.len())?.to_be_bytes();
    seed.extend_from_slice(len.get(1..).context("length")?);
    seed.extend_from_slice(payload);
    Ok(())
}
