// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Payloads that no sender makes.
//!
//! A receiver may refuse them or fill the pages with something else where its format cannot tell,
//! but it never panics, and never writes anywhere else.

use anyhow::{Context, Result, ensure};
use multifd_core::PageSize;

use super::{Guest, Integrity, PageSource, Subject, Verdict, fill, pack, setup, unpack};

/// The last packet of a channel, cut off at every byte, or at many bytes of a long one. A part of a payload may be enough for all
/// pages only if it gives the right ones.
///
/// # Errors
/// The length with which a receiver filled the pages wrongly.
pub fn check_cuts(subject: &Subject) -> Result<()> {
    let channel = Channel::new(subject, 9)?;
    let len = channel.last.len();
    let step = len.div_ceil(CUTS);
    for cut in (0..len).rev().step_by(step) {
        let payload = channel.last.get(..cut).unwrap_or_default();
        channel
            .check(payload, Content::Right)
            .with_context(|| format!("the first {cut} of {len} bytes"))?;
    }
    Ok(())
}

/// The last packet of a channel, with bytes after its end, and beyond the limits on its size.
///
/// # Errors
/// What a receiver took.
pub fn check_excess(subject: &Subject) -> Result<()> {
    let channel = Channel::new(subject, 9)?;
    for excess in [&[0][..], &[0xff], &[0; 8], &[0xff; 8], &channel.last] {
        let payload = [&channel.last, excess].concat();
        channel
            .check(&payload, Content::Right)
            .with_context(|| format!("{} bytes too many", excess.len()))?;
    }
    let limit = *channel.receiver()?.payload_limits(9).end();
    ensure!(
        limit <= MOST,
        "takes a payload of {limit} bytes for 9 pages"
    );
    let verdict = channel.give(&vec![0; limit + 1])?.0;
    ensure!(
        verdict != Verdict::Filled,
        "took a byte more than its limit"
    );
    Ok(())
}

/// As many pages as a packet lists, with the longest payload that the receiver says it takes for them: it has room for
/// all of it, whatever it then thinks of it.
///
/// # Errors
/// It has not.
pub fn check_longest(subject: &Subject) -> Result<()> {
    let pages = PageSize::X86.pages_per_packet();
    let channel = Channel::new(subject, pages)?;
    let limit = *channel.receiver()?.payload_limits(pages).end();
    ensure!(limit <= MOST, "takes a payload of {limit} bytes");
    let mut payload = channel.last.clone();
    payload.resize(limit, 0);
    if let Verdict::Refused(error) = channel.give(&payload)?.0 {
        ensure!(
            !error.contains("wanted at most"),
            "has no room for the longest payload that it takes: {error}"
        );
    }
    Ok(())
}

/// The last packet of a channel, with one bit changed, or a few bytes.
///
/// # Errors
/// The change that gave other pages although the format has a checksum.
pub fn check_flips(subject: &Subject) -> Result<()> {
    let channel = Channel::new(subject, 5)?;
    let content = match subject.integrity {
        Integrity::Checked => Content::Right,
        Integrity::Unchecked => Content::Any,
    };
    let bits = channel.last.len() * 8;
    let mut source = PageSource::new(6);
    let everywhere: Vec<usize> = (0..1500).map(|_| source.below(bits)).collect();
    for bit in (0..bits.min(48 * 8)).chain(everywhere) {
        let mut payload = channel.last.clone();
        if let Some(byte) = payload.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        channel
            .check(&payload, content)
            .with_context(|| format!("bit {bit} changed"))?;
    }
    for number in 0..500 {
        let mut payload = channel.last.clone();
        for _ in 0..1 + source.below(6) {
            let (at, byte) = (source.below(payload.len()), source.byte());
            payload.splice(at..=at, std::iter::repeat_n(byte, source.below(3)));
            payload.resize(channel.last.len(), byte);
        }
        channel
            .check(&payload, content)
            .with_context(|| format!("change {number}"))?;
    }
    Ok(())
}

/// Two packets of a channel: the first one is good, the last one is to be damaged.
struct Channel<'s> {
    subject: &'s Subject,
    guest: Guest,
    offsets: Vec<u64>,
    first: Vec<u8>,
    last: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Right,
    Any,
}

impl<'s> Channel<'s> {
    fn new(subject: &'s Subject, pages: usize) -> Result<Self> {
        let page_size = PageSize::X86;
        let guest = Guest::with(page_size, &fill(5, page_size.bytes(), 2 * pages))?;
        let offsets = |pages: std::ops::Range<usize>| -> Vec<u64> {
            pages.map(|page| guest.offset(page)).collect()
        };
        let mut sender = subject.method.send_setup(&setup(page_size)?)?;
        let first = pack(&mut *sender, &guest, &offsets(0..pages))?;
        let last = pack(&mut *sender, &guest, &offsets(pages..2 * pages))?;
        let offsets = offsets(pages..2 * pages);
        Ok(Self {
            subject,
            guest,
            offsets,
            first,
            last,
        })
    }

    /// A receiver that has taken the first packet.
    fn receiver(&self) -> Result<Box<dyn multifd_core::RecvMethod>> {
        let page_size = self.guest.page_size;
        let mut receiver = self.subject.method.recv_setup(&setup(page_size)?)?;
        let pages = self.offsets.len();
        let target = Guest::new(page_size, pages)?;
        let offsets: Vec<u64> = (0..pages).map(|page| target.offset(page)).collect();
        unpack(&mut *receiver, &self.first, &target, &offsets)?.filled()?;
        Ok(receiver)
    }

    /// What becomes of a payload in the place of the last one.
    fn give(&self, payload: &[u8]) -> Result<(Verdict, Guest)> {
        let target = Guest::untouched(self.guest.page_size, 2 * self.offsets.len())?;
        let mut receiver = self.receiver()?;
        let verdict = unpack(&mut *receiver, payload, &target, &self.offsets)?;
        Ok((verdict, target))
    }

    fn check(&self, payload: &[u8], content: Content) -> Result<()> {
        let (verdict, target) = self.give(payload)?;
        if verdict == Verdict::Filled && content == Content::Right {
            return target.ensure_received(&self.guest, &self.offsets);
        }
        // Whatever happened to the pages of the packet, the others are as they were.
        for offset in &self.offsets {
            target.write(*offset, &self.guest.page(*offset)?)?;
        }
        target.ensure_received(&self.guest, &self.offsets)
    }
}

/// How often a payload is cut off at most.
const CUTS: usize = 1 << 14;
/// More than any format needs for a packet, and nothing that hurts.
const MOST: usize = 2 << 20;
