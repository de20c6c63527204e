// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory to try the methods on: parts of a guest's, spread evenly over all of it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{PageSize, RamBlock};

use super::model::Pages;
use crate::disk::ram::DEFAULT_BLOCK;
use crate::lab::fill::{fill, or_usual};
use crate::lab::guest::{Guest, check_available, memory};

/// A part of a guest's memory, and as much memory to receive it.
pub(crate) struct Sample {
    guest: Guest,
    pub(crate) source: RamBlock,
    pub(crate) destination: RamBlock,
    /// The pages of each packet that are not zero, in an order in which any number of the first ones
    /// are spread over the guest, too.
    pub(crate) packets: Vec<Vec<u64>>,
    pages: u64,
    zero: u64,
}

impl Sample {
    /// Takes at most `most` bytes of a guest of `len` bytes: whole packets, as the engine makes them.
    pub(crate) fn of(memory: &File, len: u64, most: u64) -> anyhow::Result<Self> {
        let packet = PACKET as u64;
        let (there, wanted) = (len.div_ceil(packet), most.div_ceil(packet).max(1));
        let taken = there.min(wanted);
        let guest = Guest::empty(if taken == there { len } else { taken * packet })?;
        let mut chunk = vec![0; PACKET];
        for number in 0..taken {
            // Evenly spread: the first one of each of `taken` equal parts.
            let from = number * there / taken * packet;
            let room = usize::try_from((len - from).min(packet))?;
            let chunk = chunk.get_mut(..room).unwrap_or_default();
            memory.read_exact_at(chunk, from)?;
            guest.source().write_all_at(chunk, number * packet)?;
        }
        guest.spoil_destination()?;
        Self::with(guest)
    }

    /// Takes it from the file of a guest's memory; answers the length of the file, too.
    pub(crate) fn of_file(path: &Path, most: u64) -> anyhow::Result<(Self, u64)> {
        let read = || -> anyhow::Result<_> {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            ensure!(
                len > 0 && PageSize::X86.is_aligned(len),
                "{len} bytes, wanted a multiple of {}",
                PageSize::X86
            );
            Ok((Self::of(&file, len, most)?, len))
        };
        read().with_context(|| path.display().to_string())
    }

    /// Takes it from memory that is filled as demo's is.
    pub(crate) fn filled(len: u64, paths: &[PathBuf], most: u64) -> anyhow::Result<Self> {
        check_available(len)?;
        let memory = memory("filled", len)?;
        fill(&memory, len, &or_usual(paths))?;
        Self::of(&memory, len, most)
    }

    /// A guest without data, to see what zero pages cost.
    pub(crate) fn zeros(len: u64) -> anyhow::Result<Guest> {
        let guest = Guest::empty(len)?;
        let chunk = vec![0; PACKET];
        for offset in (0..len).step_by(PACKET) {
            let room = usize::try_from((len - offset).min(PACKET as u64)).unwrap_or(PACKET);
            guest
                .source()
                .write_all_at(chunk.get(..room).unwrap_or_default(), offset)?;
        }
        Ok(guest)
    }

    fn with(guest: Guest) -> anyhow::Result<Self> {
        let len = usize::try_from(guest.len())?;
        let source = block(Mapping::private(guest.source().as_fd(), len)?)?;
        let destination = block(Mapping::shared(guest.destination().as_fd(), len)?)?;
        let page = PageSize::X86;
        let mut packets = Vec::new();
        let (mut pages, mut zero) = (0, 0);
        for start in (0..guest.len()).step_by(PACKET) {
            let end = guest.len().min(start + PACKET as u64);
            let mut normal: Vec<_> = (start..end).step_by(page.bytes()).collect();
            pages += normal.len() as u64;
            normal.retain(|offset| {
                let span = source.span(*offset, page.bytes());
                span.is_some_and(|span| !span.is_zero())
            });
            packets.push(normal);
        }
        zero += pages
            - packets
                .iter()
                .map(|packet| packet.len() as u64)
                .sum::<u64>();
        packets.retain(|packet| !packet.is_empty());
        Ok(Self {
            guest,
            source,
            destination,
            packets: spread(packets),
            pages,
            zero,
        })
    }

    /// The memories, for processes that migrate them.
    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// How a guest of `len` bytes of the same kind is made up.
    pub(crate) fn pages_of(&self, len: u64) -> Pages {
        let all = len as f64 / PageSize::X86.bytes() as f64;
        let zero = all * self.zero_share();
        Pages {
            data: all - zero,
            zero,
        }
    }

    pub(crate) fn zero_share(&self) -> f64 {
        self.zero as f64 / self.pages.max(1) as f64
    }
}

fn block(mapping: Mapping) -> anyhow::Result<RamBlock> {
    let name = BlockName::new(DEFAULT_BLOCK).context("the block's name")?;
    Ok(RamBlock::new(name, Arc::new(mapping))?)
}

/// Puts things into an order in which neighbours come from far apart.
fn spread<T>(things: Vec<T>) -> Vec<T> {
    let count = things.len();
    // The golden ratio's steps fill a range most evenly; one without a common divisor visits all.
    let golden = count * 618 / 1000;
    let step = (golden..)
        .find(|step| divisor(*step, count) == 1)
        .unwrap_or(1);
    let mut things: Vec<_> = things.into_iter().map(Some).collect();
    let places = (0..count).map(|number| number * step % count);
    places
        .filter_map(|place| things.get_mut(place).and_then(Option::take))
        .collect()
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Bytes of pages in a packet.
const PACKET: usize = PageSize::X86.bytes() * PageSize::X86.pages_per_packet();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_spread_and_its_order_is_too() {
        let packet = PACKET as u64;
        let memory = tempfile::tempfile().unwrap();
        // Packet number n is full of n; every fifth is zero.
        let byte_of = |number: u8| if number.is_multiple_of(5) { 0 } else { number };
        for number in 0..40_u8 {
            let byte = byte_of(number);
            let at = u64::from(number) * packet;
            memory.write_all_at(&vec![byte; PACKET], at).unwrap();
        }
        let sample = Sample::of(&memory, 40 * packet, 10 * packet).unwrap();
        assert_eq!(sample.guest().len(), 10 * packet);
        let mut first = [0];
        for number in 0..10_u8 {
            let source = sample.guest().source();
            let at = u64::from(number) * packet;
            source.read_exact_at(&mut first, at).unwrap();
            assert_eq!(first[0], byte_of(4 * number), "{number}");
        }
        // All of a guest that is small, with a last packet that is not full.
        let sample = Sample::of(&memory, 5 * packet + 4096, 10 * packet).unwrap();
        assert_eq!(sample.packets.len(), 4);
        let pages = PageSize::X86.pages_per_packet();
        let share = (pages + 1) as f64 / (5 * pages + 1) as f64;
        assert!(
            (sample.zero_share() - share).abs() < 0.01,
            "{}",
            sample.zero_share()
        );
    }

    #[test]
    fn every_thing_stays() {
        for count in 0..50 {
            let mut things = spread((0..count).collect::<Vec<_>>());
            if count > 10 {
                let near = things.windows(2).filter(|pair| pair[0] + 1 == pair[1]);
                assert_eq!(near.count(), 0, "{things:?}");
            }
            things.sort_unstable();
            assert_eq!(things, (0..count).collect::<Vec<_>>());
        }
    }
}
