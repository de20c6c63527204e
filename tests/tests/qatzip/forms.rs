// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What every receiver takes and refuses, whoever does the work.

use anyhow::{Context, Result, bail, ensure};
use multifd_core::MultifdMethods;
use multifd_tests::conformance::Verdict;

use crate::members::{PAGE, PER_PACKET, content, named, plain, qz, receive};

/// Members of every legal form are received.
pub(crate) fn check_legal(method: &dyn MultifdMethods) -> Result<()> {
    let cut = |size: usize, member: &dyn Fn(&[u8]) -> Result<Vec<u8>>| -> Result<Vec<Vec<u8>>> {
        content()
            .chunks(PAGE * PER_PACKET)
            .map(|packet| {
                Ok(packet
                    .chunks(size)
                    .map(member)
                    .collect::<Result<Vec<_>>>()?
                    .concat())
            })
            .collect()
    };
    let alternating = |content: &[u8]| {
        let mut halves = content.chunks(content.len().div_ceil(3));
        let mut next = || halves.next().unwrap_or_default();
        Ok([
            qz(next(), 9)?,
            named(next(), 1)?,
            qz(&[], 1)?,
            plain(next(), 1)?,
        ]
        .concat())
    };
    for (payloads, what) in [
        (
            cut(usize::MAX, &|content| qz(content, 1))?,
            "one member per packet",
        ),
        (
            cut(64 * 1024, &|content| qz(content, 9))?,
            "members of 64 KiB",
        ),
        (cut(40 * 1024, &|content| qz(content, 0))?, "stored"),
        (cut(PAGE, &|content| qz(content, 1))?, "a member per page"),
        (
            cut(usize::MAX, &|content| tiny_members(content, 10_000))?,
            "10,000 tiny members",
        ),
        (
            cut(usize::MAX, &|content| {
                Ok([qz(&[], 1)?.repeat(10_000), qz(content, 1)?].concat())
            })?,
            "10,000 empty members",
        ),
        (cut(100_000, &|content| plain(content, 6))?, "plain gzip"),
        (
            cut(1000, &|content| named(content, 6))?,
            "gzip with names and comments",
        ),
        (cut(50_000, &alternating)?, "all of them"),
    ] {
        receive(method, &payloads)?.filled().context(what)?;
    }
    Ok(())
}

/// What does not fit is refused, and the error says where.
pub(crate) fn check_refused(method: &dyn MultifdMethods) -> Result<()> {
    let content = content();
    let packet = content.get(..PAGE * PER_PACKET).context("a packet")?;
    let changed = |at: usize, bytes: &[u8]| -> Result<Vec<u8>> {
        let mut member = qz(packet, 1)?;
        member.splice(at..at + bytes.len(), bytes.iter().copied());
        Ok(member)
    };
    let good = qz(packet, 1)?;
    let deflate = u32::try_from(good.len() - 32)?;
    let len = u32::try_from(packet.len())?;
    let short = packet.get(1..).context("a packet")?;
    let long = [packet, b"x"].concat();
    for (payload, what) in [
        (qz(short, 1)?, "bytes, wanted the"),
        (plain(short, 1)?, "bytes, wanted the"),
        (qz(&long, 1)?, "a member of 163841 bytes"),
        (plain(&long, 1)?, "more than the 163840 bytes"),
        ([&good[..], b"rest of it"].concat(), "wanted a gzip member"),
        (
            [&good[..], &good].concat(),
            "a member of 163840 bytes, wanted 0",
        ),
        (
            changed(16, &(len - 1).to_le_bytes())?,
            "more than the 163839 bytes",
        ),
        (
            changed(16, &(len + 1).to_le_bytes())?,
            "a member of 163841 bytes",
        ),
        (
            changed(16, &u32::MAX.to_le_bytes())?,
            "a member of 4294967295 bytes",
        ),
        (
            changed(20, &(deflate - 1).to_le_bytes())?,
            "bad deflate data",
        ),
        (
            changed(20, &(deflate + 1).to_le_bytes())?,
            "and 1 more byte",
        ),
        (
            changed(20, &u32::MAX.to_le_bytes())?,
            "4294967295 bytes of data",
        ),
        (changed(good.len() - 8, b"\0")?, "a member that ends in"),
        (
            changed(good.len() - 4, b"\0\0\0\0")?,
            "a member that ends in",
        ),
        // An extra field that is longer, shorter, or beyond the end; a part of it that is.
        (changed(10, b"\x0d")?, "an extra field that ends inside"),
        (changed(10, b"\x0b")?, "an extra field that ends inside"),
        (changed(10, b"\xff\xff")?, "inside of a gzip header"),
        (changed(14, b"\x07")?, "QATzip's lengths in 7 bytes"),
        (changed(14, b"\x09")?, "an extra field that ends inside"),
        // Good members, and then one that is not.
        (
            [&tiny_members(packet, 9_999)?[..], &good].concat(),
            "a member of 163840 bytes, wanted",
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff".to_vec(),
            "bad deflate data",
        ),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "without an end"),
    ] {
        match receive(method, &[payload])? {
            Verdict::Refused(error) if error.contains(what) && error.contains("(payload byte ") => {
            }
            verdict => bail!("{verdict:?}, wanted {what:?}"),
        }
    }
    Ok(())
}

/// More members than fit into the largest payload that a receiver takes.
pub(crate) fn check_too_many(method: &dyn MultifdMethods) -> Result<()> {
    let content = content();
    let packet = content.get(..PAGE * PER_PACKET).context("a packet")?;
    let payload = tiny_members(packet, 30_000)?;
    ensure!(payload.len() > 1 << 20, "{}", payload.len());
    match receive(method, &[payload])? {
        Verdict::Refused(error) if error.contains("wanted 1..=1048576") => Ok(()),
        verdict => bail!("{verdict:?}"),
    }
}

/// The content in so many members of about the same length.
fn tiny_members(content: &[u8], count: usize) -> Result<Vec<u8>> {
    let mut rest = content;
    let mut members = Vec::new();
    for left in (1..=count).rev() {
        let (mine, others) = rest.split_at(rest.len() / left);
        members.extend(qz(mine, 0)?);
        rest = others;
    }
    Ok(members)
}
