// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method qpl against other implementations of its format, and against tables that lie.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use flate2::write::{DeflateEncoder, ZlibEncoder};
use flate2::{Compress, Compression, FlushCompress};
use multifd_core::method::Accelerator;
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_qpl::QplFactory;
use multifd_tests::conformance::{
    Guest, Kind, PageSource, Verdict, fill, pack_all, python, unpack_all,
};

const PAGE: usize = 4096;
const PER_PACKET: usize = 40;

#[test]
fn python_reads_what_is_sent() -> Result<()> {
    let script = "
import struct, sys, zlib
raw = 0
for path, pages in zip(sys.argv[1:], [40, 40, 20], strict=True):
    data = open(path, 'rb').read()
    at = 4 * pages
    for length in struct.unpack('>%dI' % pages, data[:at]):
        assert 0 < length <= 4096, length
        part = data[at:at + length]
        at += length
        if length < 4096:
            inflate = zlib.decompressobj(wbits=-15)
            part = inflate.decompress(part)
            assert inflate.eof and not inflate.unused_data, (length, inflate.unused_data)
        else:
            raw += 1
        assert len(part) == 4096, len(part)
        sys.stdout.buffer.write(part)
    assert at == len(data), (at, len(data))
# Every eighth page is random.
assert 100 // 8 <= raw < 30, raw
";
    let payloads = pack_all(&*open()?, &guest(100)?, PER_PACKET)?;
    if let Some(read) = python(script, &payloads)? {
        ensure!(read == content(100), "other content");
    }
    Ok(())
}

/// A guest whose pages do not get smaller costs four bytes per page.
#[test]
fn what_does_not_get_smaller_is_sent_as_it_is() -> Result<()> {
    let mut memory = vec![0; PAGE * PER_PACKET];
    let mut source = PageSource::new(3);
    for page in memory.chunks_mut(PAGE) {
        source.fill(Kind::Random, page);
    }
    let guest = Guest::with(PageSize::X86, &memory)?;
    let payloads = pack_all(&*open()?, &guest, PER_PACKET)?;
    let raw = payload(memory.chunks(PAGE).map(<[u8]>::to_vec));
    ensure!(payloads == [raw]);
    unpack_all(&*open()?, &payloads, &guest, PER_PACKET)?.filled()
}

#[test]
fn streams_of_other_senders_are_received() -> Result<()> {
    type Stream = fn(&[u8]) -> Result<Vec<u8>>;
    let streams: [(&str, Stream); 5] = [
        ("the best compression", |page| deflate(page, 9)),
        ("the fastest", |page| deflate(page, 1)),
        ("blocks with flushes between", flushed),
        ("pages as they are", |page| Ok(page.to_vec())),
        ("stored where there is room", |page| {
            Ok(half_stored(page).unwrap_or_else(|| page.to_vec()))
        }),
    ];
    let content = content(PER_PACKET);
    let guest = guest(PER_PACKET)?;
    for (what, stream) in streams {
        let pages = content.chunks(PAGE).map(|page| {
            let stream = stream(page)?;
            Ok(if stream.len() < PAGE {
                stream
            } else {
                page.to_vec()
            })
        });
        let payload = payload(pages.collect::<Result<Vec<_>>>()?);
        unpack_all(&*open()?, &[payload], &guest, PER_PACKET)?
            .filled()
            .context(what)?;
    }
    Ok(())
}

#[test]
fn a_table_that_lies_is_refused_where_it_lies() -> Result<()> {
    let pages: Vec<Vec<u8>> = content(3)
        .chunks(PAGE)
        .map(|page| deflate(page, 1))
        .collect::<Result<_>>()?;
    let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
    let &[first, second, third] = &lengths[..] else {
        bail!("three pages");
    };
    let sum = first + second + third;
    let told = |lengths: [usize; 3]| table(&lengths, &pages.concat());
    for (payload, want) in [
        (
            told([0, second, third]),
            "page 0 has a length of 0, wanted 1 to 4096 (payload byte 0)".to_owned(),
        ),
        (
            told([first, second, 0]),
            "page 2 has a length of 0, wanted 1 to 4096 (payload byte 8)".to_owned(),
        ),
        (
            told([first, PAGE + 1, third]),
            "page 1 has a length of 4097, wanted 1 to 4096 (payload byte 4)".to_owned(),
        ),
        (
            told([first, second, 0xffff_ffff]),
            "page 2 has a length of 4294967295, wanted".to_owned(),
        ),
        // A sum that would be right in 32 bits.
        (
            told([0xffff_ffff, second + first + 1, third]),
            "page 0 has a length of 4294967295".to_owned(),
        ),
        (
            told([first, second, third - 1]),
            format!(
                "{} bytes in sum, wanted the {sum} that follow it (payload byte 12)",
                sum - 1
            ),
        ),
        (
            told([first, second, third + 1]),
            format!("{} bytes in sum, wanted the {sum} that follow it", sum + 1),
        ),
        (
            told([PAGE, PAGE, PAGE]),
            format!("{} bytes in sum, wanted the {sum}", 3 * PAGE),
        ),
        (told([1, 1, 1]), format!("3 bytes in sum, wanted the {sum}")),
        // The sum is right, but no page has its own bytes.
        (
            told([first - 1, second + 1, third]),
            "bad deflate data, or deflate data without an end (payload byte 12)".to_owned(),
        ),
        (
            told([first + 1, second - 1, third]),
            format!(
                "deflate data that ends after {first} bytes, and 1 more byte(s) (payload byte 12)"
            ),
        ),
        (table(&[], b""), "wanted 15..=12300".to_owned()),
        (table(&[5, 5], b""), "8 bytes, wanted 15..=12300".to_owned()),
        (
            table(&[PAGE; 3], &[0; 3 * PAGE + 1]),
            "12301 bytes, wanted 15..=12300".to_owned(),
        ),
    ] {
        refused(&payload, 3, &want)?;
    }
    Ok(())
}

#[test]
fn a_stream_that_is_not_a_page_is_refused_where_it_is() -> Result<()> {
    let content = content(2);
    let (first, second) = content.split_at(PAGE);
    let good = deflate(first, 6)?;
    let at = 8 + good.len();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(6));
    zlib.write_all(second)?;
    let stream = deflate(second, 6)?;
    let ended = |excess: &[u8]| [&stream[..], excess].concat();
    let ends = format!("deflate data that ends after {} bytes", stream.len());
    for (page, want) in [
        (zlib.finish()?, "bad deflate data"),
        (unended(second)?, "without an end"),
        (
            deflate(&second[1..], 6)?,
            "deflate data of 4095 bytes, wanted 4096",
        ),
        (deflate(b"", 6)?, "deflate data of 0 bytes, wanted 4096"),
        (
            deflate(&[second, b"x"].concat(), 6)?,
            "deflate data of more than the 4096 bytes",
        ),
        (
            deflate(&[7; 60_000], 6)?,
            "deflate data of more than the 4096 bytes",
        ),
        (ended(b"\0"), &ends),
        (ended(&stream), &ends),
        (vec![0xff; 100], "bad deflate data"),
        // A distance before the start of the page: into the one before it.
        (vec![0x03, 0x02, 0x00], "bad deflate data"),
    ] {
        let payload = payload([good.clone(), page]);
        refused(&payload, 2, want)?;
        refused(&payload, 2, &format!("(payload byte {at})"))?;
    }
    Ok(())
}

/// Gives a payload of so many pages to a receiver, and demands that it says why it refuses it.
fn refused(payload: &[u8], pages: usize, want: &str) -> Result<()> {
    let payloads = [payload.to_vec()];
    match unpack_all(&*open()?, &payloads, &guest(pages)?, pages)? {
        Verdict::Refused(error) if error.contains(want) => Ok(()),
        verdict => bail!("{verdict:?}, wanted {want:?}"),
    }
}

/// A payload of these pages.
fn payload(pages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let pages: Vec<Vec<u8>> = pages.into_iter().collect();
    let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
    table(&lengths, &pages.concat())
}

fn table(lengths: &[usize], content: &[u8]) -> Vec<u8> {
    let lengths = lengths.iter().map(|length| u32::try_from(*length));
    let mut payload: Vec<u8> = lengths
        .flat_map(|length| length.unwrap_or(u32::MAX).to_be_bytes())
        .collect();
    payload.extend_from_slice(content);
    payload
}

fn deflate(content: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// A stream of several blocks, some of them empty.
fn flushed(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    for part in content.chunks(1000) {
        encoder.write_all(part)?;
        encoder.flush()?;
    }
    Ok(encoder.finish()?)
}

/// All of the content, but no final block.
fn unended(content: &[u8]) -> Result<Vec<u8>> {
    let mut stream = Vec::with_capacity(2 * content.len());
    let mut compress = Compress::new(Compression::new(6), false);
    compress.compress_vec(content, &mut stream, FlushCompress::Sync)?;
    Ok(stream)
}

/// The first half of a page in a stored block, the second in a compressed one, if that is shorter.
fn half_stored(page: &[u8]) -> Option<Vec<u8>> {
    let (first, second) = page.split_at(page.len() / 2);
    let len = u16::try_from(first.len()).ok()?;
    let stream = [
        &[0][..],
        &len.to_le_bytes(),
        &(!len).to_le_bytes(),
        first,
        &deflate(second, 6).ok()?,
    ]
    .concat();
    (stream.len() < page.len()).then_some(stream)
}

fn open() -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software);
    Ok(QplFactory.open(&options)?)
}

fn guest(pages: usize) -> Result<Guest> {
    Guest::with(PageSize::X86, &content(pages))
}

/// Pages of every kind.
fn content(pages: usize) -> Vec<u8> {
    fill(12, PAGE, pages)
}
