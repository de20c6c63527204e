// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The format, in software.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use multifd_core::method::{Accelerator, CodecPath};
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{
    Guest, Verdict, fill, pack, pack_all, python, setup, unpack, unpack_all,
};

const PAGE: usize = 4096;
const PER_PACKET: usize = 40;

/// Makes of a page what a payload has of it.
type Make<'a> = &'a dyn Fn(&[u8]) -> Result<Vec<u8>>;

/// Each page is as Kunpeng's device takes it: a header that it passes over, a stream that ends and
/// needs no more than 4 KiB of window, its checksum, and nothing else.
#[test]
fn python_reads_what_is_sent() -> Result<()> {
    let script = "
import struct, sys, zlib
page_size, per_packet, pages = PARAMETERS
for path in sys.argv[1:]:
    data = open(path, 'rb').read()
    count = min(per_packet, pages)
    pages -= count
    lengths = struct.unpack('>%dI' % count, data[:4 * count])
    at = 4 * count
    for length in lengths:
        page = data[at:at + length]
        at += length
        assert 0 < length <= page_size and len(page) == length, length
        if length < page_size:
            assert page[:2] == b'\\x78\\x9c', page[:2]
            stream = zlib.decompressobj(wbits=12)
            page = stream.decompress(b'\\x48\\x89' + page[2:])
            assert stream.eof and not stream.unused_data
        assert len(page) == page_size
        sys.stdout.buffer.write(page)
    assert at == len(data)
assert not pages
";
    for (page, per_packet, pages) in [(0x1000, PER_PACKET, 100), (0x10000, 8, 20)] {
        let page_size = PageSize::new(page).context("a page size")?;
        let content = fill(12, page_size.bytes(), pages);
        let guest = Guest::with(page_size, &content)?;
        let payloads = pack_all(&*software()?, &guest, per_packet)?;
        let bytes: usize = payloads.iter().map(Vec::len).sum();
        ensure!(bytes < content.len() * 3 / 4, "{bytes} bytes");
        let parameters = format!("{page}, {per_packet}, {pages}");
        let script = script.replace("PARAMETERS", &parameters);
        if let Some(read) = python(&script, &payloads)? {
            ensure!(read == content, "pages of {page} bytes");
        }
    }
    Ok(())
}

/// What a QEMU without the device sends.
#[test]
fn pages_as_they_are_are_received() -> Result<()> {
    let payloads = payloads(&|page| Ok(page.to_vec()))?;
    ensure!(payloads.first().map(Vec::len) == Some(PER_PACKET * (4 + PAGE)));
    receive(&payloads)?.filled()
}

#[test]
fn streams_of_other_senders_are_received() -> Result<()> {
    let window_of_4_kib = |page: &[u8]| {
        let mut stream = zlib(page, 6)?;
        stream.splice(..2, [0x48, 0x89]);
        Ok(stream)
    };
    // A flush ends in an empty block; the final block follows.
    let many_blocks = |page: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
        for part in page.chunks(1000) {
            encoder.write_all(part)?;
            encoder.flush()?;
        }
        Ok(encoder.finish()?)
    };
    let makers: [(&str, Make<'_>); 5] = [
        ("level 1", &|page| zlib(page, 1)),
        ("level 6", &|page| zlib(page, 6)),
        ("level 9", &|page| zlib(page, 9)),
        ("a window of 4 KiB", &window_of_4_kib),
        ("many blocks", &many_blocks),
    ];
    for (what, make) in makers {
        let shorter = |page: &[u8]| {
            let stream = make(page)?;
            Ok(if stream.len() < PAGE {
                stream
            } else {
                page.to_vec()
            })
        };
        let payloads = payloads(&shorter)?;
        let bytes: usize = payloads.iter().map(Vec::len).sum();
        ensure!(bytes < content().len(), "{what}: nothing is compressed");
        receive(&payloads)?.filled().context(what)?;
    }
    Ok(())
}

#[test]
fn streams_that_are_none_are_refused() -> Result<()> {
    let page = b"a page of text, ".repeat(PAGE / 16);
    let good = zlib(&page, 6)?;
    let changed = |at: usize, bytes: &[u8]| {
        let mut stream = good.clone();
        stream.splice(at..at + bytes.len(), bytes.iter().copied());
        stream
    };
    let with = |mut encoder: ZlibEncoder<Vec<u8>>| -> Result<Vec<u8>> {
        encoder.write_all(&page)?;
        encoder.flush()?;
        Ok(encoder.get_ref().clone())
    };
    let raw = |mut encoder: DeflateEncoder<Vec<u8>>| -> Result<Vec<u8>> {
        encoder.write_all(&page)?;
        Ok(encoder.finish()?)
    };
    let gzip = |mut encoder: GzEncoder<Vec<u8>>| -> Result<Vec<u8>> {
        encoder.write_all(&page)?;
        Ok(encoder.finish()?)
    };
    let level = Compression::new(6);
    let end = good.len() - 4;
    let without_end = good.get(..end).context("a stream")?.to_vec();
    for (stream, what) in [
        (
            raw(DeflateEncoder::new(Vec::new(), level))?,
            "the header of a zlib stream",
        ),
        (
            gzip(GzEncoder::new(Vec::new(), level))?,
            "the header of a zlib stream",
        ),
        (changed(0, b"\x79\x00"), "the header of a zlib stream"),
        (changed(0, b"\x78\xbb"), "preset dictionary"),
        (changed(end, b"\0\0\0\0"), "checksum [00, 00, 00, 00]"),
        (without_end, "deflate"),
        (with(ZlibEncoder::new(Vec::new(), level))?, "deflate"),
        ([&good[..], b"\0"].concat(), "and 1 more byte"),
        ([&good[..], &good].concat(), "more byte"),
        (zlib(&page[1..], 6)?, "4095 bytes, wanted 4096"),
        (
            zlib(&[&page[..], b"x"].concat(), 6)?,
            "more than the 4096 bytes",
        ),
        (b"\x78\x9c\x03\0\0".to_vec(), "not a zlib stream"),
        (b"\x78\x9c\xff\0\0\0\0".to_vec(), "deflate"),
    ] {
        let guest = Guest::with(PageSize::X86, &page)?;
        let verdict = unpack_all(&*software()?, &[payload(&[stream])?], &guest, 1)?;
        refused(&verdict, what)?;
    }
    Ok(())
}

/// Each is refused before a page is written; `unpack` sees to it that sizes are checked as a channel
/// does.
#[test]
fn tables_that_lie_are_refused() -> Result<()> {
    let pages = [vec![1; PAGE], zlib(&[2; PAGE], 1)?, vec![3; PAGE]];
    let good = payload(&pages)?;
    let length = |page: usize, length: u32| {
        let mut payload = good.clone();
        payload.splice(page * 4..page * 4 + 4, length.to_be_bytes());
        payload
    };
    let short = u32::try_from(pages[1].len())?;
    for (payload, what) in [
        (length(0, 0), "a length of 0"),
        (length(2, 4097), "a length of 4097"),
        (length(1, u32::MAX), "a length of 4294967295"),
        (length(1, 0x8000_0000), "a length of 2147483648"),
        (length(1, short + 1), "in sum"),
        (length(1, short - 1), "in sum"),
        ([&good[..], b"x"].concat(), "in sum"),
        (good[..good.len() - 1].to_vec(), "in sum"),
        (good[..11].to_vec(), "11 bytes"),
        (vec![0; 3 * (4 + PAGE) + 1], "wanted"),
        (vec![0xff; 3 * (4 + PAGE)], "a length of 4294967295"),
        (vec![0; 3 * (4 + PAGE)], "a length of 0"),
        // The sum is right, but the second page begins a byte too early.
        (
            {
                let mut payload = length(1, short + 1);
                payload.splice(0..4, 4095u32.to_be_bytes());
                payload
            },
            "the header",
        ),
    ] {
        let target = Guest::untouched(PageSize::X86, 3)?;
        let mut receiver = software()?.recv_setup(&setup(PageSize::X86)?)?;
        let verdict = unpack(&mut *receiver, &payload, &target, &target.offsets())?;
        refused(&verdict, what)?;
        target.ensure_received(&target, &[]).context("written")?;
    }
    Ok(())
}

#[test]
fn software_is_counted() -> Result<()> {
    let method = software()?;
    ensure!(!method.implementation().is_hardware());
    let guest = Guest::with(PageSize::X86, &content())?;
    let mut sender = method.send_setup(&setup(PageSize::X86)?)?;
    let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
    let target = Guest::untouched(PageSize::X86, 100)?;
    for offsets in guest.offsets().chunks(PER_PACKET) {
        let payload = pack(&mut *sender, &guest, offsets)?;
        unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
    }
    for counts in [sender.paths(), receiver.paths()] {
        let counts = counts.context("no counts")?;
        ensure!(counts.packets(CodecPath::Software) == 3 && counts.all_fallbacks() == 0);
    }
    Ok(())
}

fn refused(verdict: &Verdict, what: &str) -> Result<()> {
    match verdict {
        Verdict::Refused(error) if error.contains(what) => Ok(()),
        verdict => bail!("{verdict:?}, wanted {what:?}"),
    }
}

/// The payloads of the content, each page as `make` has it.
fn payloads(make: Make<'_>) -> Result<Vec<Vec<u8>>> {
    content()
        .chunks(PAGE * PER_PACKET)
        .map(|packet| payload(&packet.chunks(PAGE).map(make).collect::<Result<Vec<_>>>()?))
        .collect()
}

/// A table and its pages.
fn payload(pages: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    for page in pages {
        payload.extend(u32::try_from(page.len())?.to_be_bytes());
    }
    payload.extend(pages.concat());
    Ok(payload)
}

fn zlib(content: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

fn receive(payloads: &[Vec<u8>]) -> Result<Verdict> {
    let guest = Guest::with(PageSize::X86, &content())?;
    unpack_all(&*software()?, payloads, &guest, PER_PACKET)
}

fn software() -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software);
    Ok(multifd_uadk::UadkFactory::default().open(&options)?)
}

/// Two whole packets and a half, of every kind of page.
fn content() -> Vec<u8> {
    fill(12, PAGE, 100)
}
