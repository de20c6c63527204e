// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method zstd against other uses of its format.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::recorded::Folder;
use multifd_tests::conformance::{Guest, OnRungs, Verdict, fill, pack_all, unpack_all};
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_continue, ZSTD_e_end, ZSTD_e_flush};
use zstd_safe::{CCtx, CParameter, DCtx, ErrorCode, InBuffer, OutBuffer};

const PAGE: usize = 4096;
const PER_PACKET: usize = 24;

/// As QEMU receives: a page at a time. What it has not taken of a packet when the last page is
/// complete, it never takes.
#[test]
fn page_by_page_everything_is_taken() -> Result<()> {
    let content = content();
    let guest = Guest::with(PageSize::X86, &content)?;
    let method = open(1)?;
    let rungs = (0..method.ladder().len()).collect();
    let on_rungs = pack_all(&OnRungs { method, rungs }, &guest, PER_PACKET)?;
    let mut sent = vec![("of rungs".to_owned(), on_rungs)];
    for level in 0..=20 {
        sent.push((level.to_string(), send(level, &content)?));
    }
    for (level, payloads) in sent {
        let mut stream = DCtx::create();
        let mut pages = content.chunks(PAGE);
        for payload in payloads {
            let mut input = InBuffer::around(&payload);
            for want in pages.by_ref().take(PER_PACKET) {
                let mut page = [0; PAGE];
                let mut output = OutBuffer::around(&mut page[..]);
                while output.pos() < PAGE {
                    let before = (input.pos(), output.pos());
                    stream
                        .decompress_stream(&mut output, &mut input)
                        .map_err(named)?;
                    ensure!(
                        before != (input.pos(), output.pos()),
                        "level {level}: no progress"
                    );
                }
                ensure!(page == want, "level {level}: another page");
            }
            ensure!(
                input.pos() == payload.len(),
                "level {level}: {} left",
                payload.len() - input.pos()
            );
        }
    }
    Ok(())
}

#[test]
fn each_packet_is_one_frame_of_known_length() -> Result<()> {
    for payload in send(1, &content())? {
        let len = zstd_safe::find_frame_compressed_size(&payload).map_err(named)?;
        ensure!(
            len == payload.len(),
            "a frame of {len} bytes in {}",
            payload.len()
        );
        let content = zstd_safe::get_frame_content_size(&payload);
        let content = content
            .map_err(|_| anyhow!("no frame"))?
            .context("no content size")?;
        ensure!(content.is_multiple_of(PAGE as u64) && content > 0);
    }
    Ok(())
}

#[test]
fn payloads_are_a_twentieth_longer_than_qemus_at_most() -> Result<()> {
    let theirs = Folder::new("zstd-qemu-10.0").payload_bytes()?;
    let guest = Guest::with(PageSize::X86, &Folder::normal_pages()?)?;
    let ours: usize = pack_all(&*open(1)?, &guest, 128)?
        .iter()
        .map(Vec::len)
        .sum();
    ensure!(ours * 20 <= theirs * 21, "{ours} bytes, QEMU {theirs}");
    Ok(())
}

#[test]
fn frames_of_other_senders_are_received() -> Result<()> {
    let skippable = &b"\x5a\x2a\x4d\x18\x03\0\0\0abc"[..];
    let after = |tail: &[u8], payloads: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        payloads
            .iter()
            .map(|payload| [payload, tail].concat())
            .collect()
    };
    let before = |head: &[u8], payloads: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        payloads
            .iter()
            .map(|payload| [head, payload].concat())
            .collect()
    };
    for level in [-5, 1, 3, 9, 19, 20] {
        for (payloads, what) in [
            (
                stream(level, ZSTD_e_continue, &[ZSTD_e_flush])?,
                "one frame",
            ),
            (
                stream(level, ZSTD_e_continue, &[ZSTD_e_flush; 2])?,
                "one frame, flushed twice",
            ),
            (
                stream(level, ZSTD_e_flush, &[ZSTD_e_flush])?,
                "one frame, each page flushed",
            ),
            (
                stream(level, ZSTD_e_continue, &[ZSTD_e_flush, ZSTD_e_end])?,
                "flush, then end",
            ),
            (
                stream(level, ZSTD_e_continue, &[ZSTD_e_end])?,
                "a frame per packet",
            ),
            (
                stream(level, ZSTD_e_end, &[ZSTD_e_end])?,
                "a frame per page",
            ),
            (
                after(skippable, send(1, &content())?),
                "a skippable frame at the end",
            ),
            (
                before(skippable, send(1, &content())?),
                "a skippable frame at the start",
            ),
        ] {
            receive(&payloads)?
                .filled()
                .with_context(|| format!("level {level}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_frame_may_end_where_a_later_packet_starts() -> Result<()> {
    // The first packet's frame ends with the second packet, which then has a frame of its own.
    let mut payloads = stream(1, ZSTD_e_continue, &[ZSTD_e_flush])?;
    payloads.truncate(1);
    payloads.extend(send(1, &content())?.into_iter().skip(1));
    let empty_last_block = [1, 0, 0];
    payloads[1].splice(0..0, empty_last_block);
    receive(&payloads)?.filled()
}

/// As long as one of raw blocks would be, and like it up to the second block: that repeats a byte four times.
#[test]
fn a_frame_of_other_blocks_behind_a_raw_one_is_received() -> Result<()> {
    const RAW: usize = 128 << 10;
    let mut content = fill(5, PAGE, 33);
    content[RAW..RAW + 4].fill(7);
    let guest = Guest::with(PageSize::X86, &content)?;
    let raw = OnRungs {
        method: open(1)?,
        rungs: vec![0],
    };
    let good = pack_all(&raw, &guest, 33)?.remove(0);
    let block = |kind: u32, size: usize| -> Result<[u8; 3]> {
        let [low, middle, high, _] = (u32::try_from(size)? << 3 | kind).to_le_bytes();
        Ok([low, middle, high])
    };
    let parts = [
        &good[..9 + 3 + RAW],
        &block(0b10, 4)?,
        &[7],
        &block(0b01, PAGE - 4)?,
        &content[RAW + 4..],
    ];
    let other = parts.concat();
    ensure!(other.len() == good.len() && other != good);
    for payloads in [vec![good], vec![other]] {
        unpack_all(&raw, &payloads, &guest, 33)?.filled()?;
    }
    Ok(())
}

/// What looks like a frame in the middle of one is none.
#[test]
fn raw_blocks_are_taken_for_a_frame_only_between_two() -> Result<()> {
    let guest = Guest::with(PageSize::X86, &content())?;
    let raw = OnRungs {
        method: open(1)?,
        rungs: vec![0],
    };
    let mut payloads = stream(1, ZSTD_e_continue, &[ZSTD_e_flush])?;
    payloads[1] = pack_all(&raw, &guest, PER_PACKET)?.remove(1);
    match receive(&payloads)? {
        Verdict::Refused(_) => Ok(()),
        Verdict::Filled => anyhow::bail!("taken in the middle of a frame"),
    }
}

#[test]
fn windows_of_32_mib_are_the_limit() -> Result<()> {
    for (log, wanted) in [(25, true), (26, false)] {
        let mut context = CCtx::create();
        context
            .set_parameter(CParameter::WindowLog(log))
            .map_err(named)?;
        let payloads = stream_of(&mut context, ZSTD_e_continue, &[ZSTD_e_flush])?;
        let verdict = receive(&payloads)?;
        ensure!(
            (verdict == Verdict::Filled) == wanted,
            "window of 2^{log}: {verdict:?}"
        );
    }
    Ok(())
}

#[test]
fn what_is_not_the_packets_pages_is_refused() -> Result<()> {
    let good = send(1, &content())?;
    let frame = |content: &[u8]| -> Result<Vec<u8>> {
        let mut frame = vec![0; 2 * content.len() + 100];
        let len = CCtx::create()
            .compress2(&mut frame[..], content)
            .map_err(named)?;
        frame.truncate(len);
        Ok(frame)
    };
    let full = PAGE * PER_PACKET;
    for (payload, what) in [
        (frame(&content()[..full - 1])?, "bytes, wanted the"),
        (frame(&content()[..full + 1])?, "more than the"),
        ([&good[0][..], &frame(b"x")?].concat(), "more than the"),
        (b"not a frame at all".to_vec(), "zstd"),
    ] {
        let payloads = [&[payload][..], &good[1..]].concat();
        match receive(&payloads)? {
            Verdict::Refused(error) if error.contains(what) => {}
            verdict => anyhow::bail!("{verdict:?}, wanted {what:?}"),
        }
    }
    Ok(())
}

/// The payloads of one channel: each page is fed with `page`, and each packet ends with `end`.
fn stream(level: i32, page: ZSTD_EndDirective, end: &[ZSTD_EndDirective]) -> Result<Vec<Vec<u8>>> {
    let mut context = CCtx::create();
    let level = CParameter::CompressionLevel(level);
    context.set_parameter(level).map_err(named)?;
    stream_of(&mut context, page, end)
}

fn stream_of(
    context: &mut CCtx<'_>,
    page: ZSTD_EndDirective,
    end: &[ZSTD_EndDirective],
) -> Result<Vec<Vec<u8>>> {
    let mut payloads = Vec::new();
    for packet in content().chunks(PAGE * PER_PACKET) {
        let mut payload = vec![0; 2 * packet.len()];
        let mut output = OutBuffer::around(&mut payload[..]);
        let mut pages = packet.chunks(PAGE).peekable();
        while let Some(bytes) = pages.next() {
            let mut input = InBuffer::around(bytes);
            let directives = if pages.peek().is_none() { end } else { &[page] };
            for directive in directives {
                let left = context
                    .compress_stream2(&mut output, &mut input, *directive)
                    .map_err(named)?;
                ensure!(left == 0 || *directive == ZSTD_e_continue);
            }
        }
        let len = output.pos();
        payload.truncate(len);
        payloads.push(payload);
    }
    Ok(payloads)
}

fn receive(payloads: &[Vec<u8>]) -> Result<Verdict> {
    let guest = Guest::with(PageSize::X86, &content())?;
    unpack_all(&*open(1)?, payloads, &guest, PER_PACKET)
}

fn send(level: u8, content: &[u8]) -> Result<Vec<Vec<u8>>> {
    let guest = Guest::with(PageSize::X86, content)?;
    pack_all(&*open(level)?, &guest, PER_PACKET)
}

fn open(level: u8) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new().with("multifd-zstd-level", level);
    Ok(multifd_zstd::ZstdFactory.open(&options)?)
}

fn named(code: ErrorCode) -> anyhow::Error {
    anyhow!("{}", zstd_safe::get_error_name(code))
}

/// Two whole packets and a half, of every kind of page; the last half has been sent before.
fn content() -> Vec<u8> {
    let pages = fill(11, PAGE, 40);
    pages
        .iter()
        .chain(&pages)
        .take(60 * PAGE)
        .copied()
        .collect()
}
