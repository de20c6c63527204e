// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method zlib against other implementations of its format.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::recorded::Folder;
use multifd_tests::conformance::{Guest, Verdict, fill, pack_all, python, unpack_all};
const PAGE: usize = 4096;
const PER_PACKET: usize = 24;

#[test]
fn python_reads_what_is_sent() -> Result<()> {
    let script = "
import sys, zlib
stream = zlib.decompressobj()
for path in sys.argv[1:]:
    data = open(path, 'rb').read()
    while data:
        page = stream.decompress(data, 4096)
        data = stream.unconsumed_tail
        assert len(page) == 4096 and not stream.eof and not stream.unused_data
        sys.stdout.buffer.write(page)
";
    for level in 0..=9 {
        let content = content();
        let payloads = send(level, &content)?;
        let Some(read) = python(script, &payloads)? else {
            return Ok(());
        };
        ensure!(read == content, "level {level}");
    }
    Ok(())
}

/// As QEMU receives: a page at a time, each with `Z_OK`. What it has not taken of a packet when the
/// last page is complete, it never takes.
#[test]
fn page_by_page_everything_is_taken() -> Result<()> {
    for level in 0..=9 {
        let content = content();
        let mut stream = Decompress::new(true);
        let mut pages = content.chunks(PAGE);
        for payload in send(level, &content)? {
            let mut rest = &payload[..];
            for want in pages.by_ref().take(PER_PACKET) {
                let (read, written) = (stream.total_in(), stream.total_out());
                let mut page = [0; PAGE];
                let status = stream.decompress(rest, &mut page, FlushDecompress::Sync)?;
                ensure!(status == Status::Ok, "level {level}: {status:?}");
                ensure!(stream.total_out() - written == PAGE as u64 && page == want);
                rest = &rest[usize::try_from(stream.total_in() - read)?..];
            }
            ensure!(
                rest.is_empty(),
                "level {level}: {} bytes are left",
                rest.len()
            );
        }
    }
    Ok(())
}

#[test]
fn the_header_comes_once_and_each_packet_ends_in_a_flush() -> Result<()> {
    for (level, header) in [(0, [0x78, 0x01]), (1, [0x78, 0x01]), (6, [0x78, 0x9c])] {
        let payloads = send(level, &content())?;
        ensure!(payloads[0].starts_with(&header), "level {level}");
        for payload in &payloads {
            ensure!(payload.ends_with(&[0, 0, 0xff, 0xff]), "level {level}");
        }
        // Whatever comes first, the second packet of one channel is no first packet of another.
        let swapped = [payloads[1].clone(), payloads[0].clone()];
        let guest = Guest::with(PageSize::X86, &content())?;
        let verdict = unpack_all(&*open(level)?, &swapped, &guest, PER_PACKET)?;
        ensure!(verdict != Verdict::Filled, "level {level}");
    }
    Ok(())
}

#[test]
fn payloads_are_about_as_long_as_qemus() -> Result<()> {
    let theirs = Folder::new("zlib-qemu-10.0").payload_bytes()?;
    let guest = Guest::with(PageSize::X86, &Folder::normal_pages()?)?;
    let ours: usize = pack_all(&*open(1)?, &guest, 128)?
        .iter()
        .map(Vec::len)
        .sum();
    ensure!(ours * 100 <= theirs * 103, "{ours} bytes, QEMU {theirs}");
    Ok(())
}

#[test]
fn streams_of_other_senders_are_received() -> Result<()> {
    for level in 0..=9 {
        for (flush, tail) in [
            (FlushCompress::Sync, &[][..]),
            (FlushCompress::Full, &[]),
            (FlushCompress::Sync, &[0, 0, 0, 0xff, 0xff]),
        ] {
            let payloads: Vec<Vec<u8>> = stream(level, flush)?
                .into_iter()
                .map(|payload| [&payload, tail].concat())
                .collect();
            receive(&payloads)?
                .filled()
                .with_context(|| format!("level {level}, {flush:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn what_is_no_endless_stream_is_refused() -> Result<()> {
    let good = stream(1, FlushCompress::Sync)?;
    let mut headless = good.clone();
    headless[0].drain(..2);
    let mut twice = good.clone();
    twice[1].splice(0..0, [0x78, 0x01]);
    let mut with_dictionary = good.clone();
    with_dictionary[0].splice(..2, [0x78, 0x20]);
    let mut ended = good.clone();
    ended[1].extend([0x03, 0x00]);
    let ended_each = stream(1, FlushCompress::Finish)?;
    for (payloads, what) in [
        (headless, "wanted the header of a zlib stream"),
        (twice, "zlib"),
        (with_dictionary, "dictionary"),
        (ended, "the end of the stream"),
        (ended_each, "the end of the stream"),
    ] {
        match receive(&payloads)? {
            Verdict::Refused(error) if error.contains(what) => {}
            verdict => anyhow::bail!("{verdict:?}, wanted {what:?}"),
        }
    }
    Ok(())
}

/// The payloads of one channel, made as QEMU makes them: a page at a time, then a flush.
fn stream(level: u32, flush: FlushCompress) -> Result<Vec<Vec<u8>>> {
    let mut stream = Compress::new(Compression::new(level), true);
    let mut payloads = Vec::new();
    for packet in content().chunks(PAGE * PER_PACKET) {
        let mut payload = Vec::with_capacity(2 * packet.len());
        let mut pages = packet.chunks(PAGE).peekable();
        while let Some(page) = pages.next() {
            let flush = if pages.peek().is_none() {
                flush
            } else {
                FlushCompress::None
            };
            stream.compress_vec(page, &mut payload, flush)?;
        }
        payloads.push(payload);
        if flush == FlushCompress::Finish {
            stream.reset();
        }
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
    let options = MethodOptions::new().with("multifd-zlib-level", level);
    Ok(multifd_zlib::ZlibFactory.open(&options)?)
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
