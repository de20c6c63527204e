//! The method qatzip against other implementations of its format.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc, GzBuilder};
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{
    Guest, Kind, PageSource, Verdict, fill, pack_all, python, unpack_all,
};

const PAGE: usize = 4096;
const PER_PACKET: usize = 40;

#[test]
fn python_reads_what_is_sent() -> Result<()> {
    let script = "
import gzip, sys
for path in sys.argv[1:]:
    sys.stdout.buffer.write(gzip.open(path).read())
";
    for level in 1..=9 {
        let Some(read) = python(script, &send(level)?)? else {
            return Ok(());
        };
        ensure!(read == content(), "level {level}");
    }
    Ok(())
}

/// Each member is as QAT's hardware takes it.
#[test]
fn members_have_the_form_of_qatzip() -> Result<()> {
    let script = "
import struct, sys
for path in sys.argv[1:]:
    data = open(path, 'rb').read()
    while data:
        head = struct.unpack('<HBBIBBH2sHII', data[:24])
        assert head[:4] == (0x8b1f, 8, 4, 0) and head[4] in (0, 2, 4), head
        assert head[5:9] == (255, 12, b'QZ', 8), head
        content, deflate = head[9:]
        assert 1024 <= content <= 65536 and deflate <= 74752, head
        assert struct.unpack('<I', data[28 + deflate:32 + deflate]) == (content,), head
        data = data[32 + deflate:]
        print(content)
";
    // Kinds of pages in turn, then long runs of what is compressed and of what is stored.
    let mut memory = fill(12, PAGE, 400);
    let mut source = PageSource::new(13);
    for (kind, page) in [(Kind::Text, 100 * PAGE), (Kind::Random, 250 * PAGE)] {
        let (_, pages) = memory.split_at_mut(page);
        pages
            .chunks_mut(PAGE)
            .for_each(|page| source.fill(kind, page));
    }
    let guest = Guest::with(PageSize::X86, &memory)?;
    let payloads = pack_all(&*open(1)?, &guest, 128)?;
    let Some(lengths) = python(script, &payloads)? else {
        return Ok(());
    };
    let lengths = String::from_utf8(lengths)?;
    let lengths: Vec<usize> = lengths.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(lengths.iter().sum::<usize>() == 400 * PAGE);
    ensure!(lengths.contains(&(64 * 1024)), "{lengths:?}");
    Ok(())
}

#[test]
fn members_of_other_senders_are_received() -> Result<()> {
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
        (cut(100_000, &|content| plain(content, 6))?, "plain gzip"),
        (
            cut(1000, &|content| named(content, 6))?,
            "gzip with names and comments",
        ),
        (cut(50_000, &alternating)?, "all of them"),
    ] {
        receive(&payloads)?.filled().context(what)?;
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
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
        (changed(20, &(deflate - 1).to_le_bytes())?, "qatzip"),
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
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff".to_vec(),
            "bad deflate data",
        ),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "without an end"),
    ] {
        match receive(&[payload])? {
            Verdict::Refused(error) if error.contains(what) => {}
            verdict => anyhow::bail!("{verdict:?}, wanted {what:?}"),
        }
    }
    Ok(())
}

/// A member in QATzip's form.
fn qz(content: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content)?;
    let deflate = encoder.finish()?;
    let mut crc = Crc::new();
    crc.update(content);
    let len = u32::try_from(content.len())?.to_le_bytes();
    Ok([
        &b"\x1f\x8b\x08\x04\0\0\0\0\x04\xff\x0c\0QZ\x08\0"[..],
        &len,
        &u32::try_from(deflate.len())?.to_le_bytes(),
        &deflate,
        &crc.sum().to_le_bytes(),
        &len,
    ]
    .concat())
}

/// A member without an extra field.
fn plain(content: &[u8], level: u32) -> Result<Vec<u8>> {
    member(GzBuilder::new(), content, level)
}

/// A member with all else that a header may have, but no lengths.
fn named(content: &[u8], level: u32) -> Result<Vec<u8>> {
    let builder = GzBuilder::new()
        .filename("ram")
        .comment("pages")
        .mtime(1)
        .extra("xy\x01\0z");
    member(builder, content, level)
}

fn member(builder: GzBuilder, content: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = builder.write(Vec::new(), Compression::new(level));
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

fn receive(payloads: &[Vec<u8>]) -> Result<Verdict> {
    let len = payloads.len() * PER_PACKET * PAGE;
    let content: Vec<u8> = content().into_iter().take(len).collect();
    let guest = Guest::with(PageSize::X86, &content)?;
    unpack_all(&*open(1)?, payloads, &guest, PER_PACKET)
}

fn send(level: u8) -> Result<Vec<Vec<u8>>> {
    pack_all(
        &*open(level)?,
        &Guest::with(PageSize::X86, &content())?,
        PER_PACKET,
    )
}

fn open(level: u8) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new().with("multifd-qatzip-level", level);
    Ok(multifd_qatzip::QatzipFactory.open(&options)?)
}

/// Two whole packets and a half, of every kind of page.
fn content() -> Vec<u8> {
    fill(12, PAGE, 100)
}
