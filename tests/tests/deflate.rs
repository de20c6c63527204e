// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The encoders and the decoder of `multifd-deflate` against other implementations of the format.

use anyhow::{Context, Result, ensure};
use flate2::{Decompress, FlushDecompress, Status};
use multifd_deflate::{DecodeError, Deflate, Encoder, Level, Stream, store, stored_len};
use multifd_tests::conformance::{Kind, PageSource, fill, python};
use multifd_tests::isal::engines;

/// Sizes of content around what the encoders do at once, and the two that methods have.
const SIZES: [usize; 14] = [0, 1, 2, 3, 7, 8, 9, 31, 300, 4095, 4096, 4097, 65535, 65536];
/// What is behind an output, and must stay.
const GUARD: u8 = 0xc3;

fn levels() -> impl Iterator<Item = Level> {
    (1..=9).filter_map(Level::new)
}

fn content(kind: Kind, size: usize) -> Vec<u8> {
    let mut content = vec![0; size.next_multiple_of(16)];
    PageSource::new(size as u64).fill(kind, &mut content);
    content.truncate(size);
    content
}

#[test]
fn others_read_every_stream() -> Result<()> {
    let (mut streams, mut contents) = (Vec::new(), Vec::new());
    for (name, deflate) in engines()? {
        for level in levels() {
            for size in SIZES {
                let mut encoder = deflate.encoder(level, size);
                for kind in Kind::ALL {
                    let content = content(kind, size);
                    let mut out = vec![0; 2 * size + 64];
                    let length = encoder.encode(&content, &mut out);
                    let length = length.with_context(|| format!("{name}, {level:?}, {size}"))?;
                    out.truncate(length);
                    let mut decoded = vec![0; size];
                    deflate.decoder().decode_exact(&out, &mut decoded)?;
                    ensure!(decoded == content, "{name}, {level:?}, {size}, {kind:?}");
                    ensure!(zlib_reads(&out, &content), "{name}, {level:?}, {kind:?}");
                    streams.extend(u32::try_from(length)?.to_le_bytes());
                    streams.extend(out);
                    contents.extend(content);
                }
            }
        }
    }
    let script = "
import sys, zlib
data = open(sys.argv[1], 'rb').read()
while data:
    end = 4 + int.from_bytes(data[:4], 'little')
    inflater = zlib.decompressobj(-15)
    sys.stdout.buffer.write(inflater.decompress(data[4:end]))
    assert inflater.eof and not inflater.unused_data
    data = data[end:]
";
    if let Some(read) = python(script, &[streams])? {
        ensure!(read == contents, "Python reads something else");
    }
    Ok(())
}

#[test]
fn others_read_parts_as_one_stream() -> Result<()> {
    for (name, deflate) in engines()? {
        for level in levels() {
            let mut encoder = deflate.part_encoder(level);
            let (mut stream, mut contents) = (Vec::new(), Vec::new());
            for size in SIZES.into_iter().chain([300_000]).filter(|size| *size > 0) {
                for kind in Kind::ALL {
                    let content = content(kind, size);
                    let room = size + 600;
                    let mut out = vec![GUARD; room + 64];
                    let (front, guard) = out.split_at_mut(room);
                    let length = encoder.encode(&content, front);
                    let what = || format!("{name}, {level:?}, {size}, {kind:?}");
                    let length = length.with_context(what)?;
                    ensure!(front[..length].ends_with(&[0, 0, 0xff, 0xff]), what());
                    ensure!(guard.iter().all(|byte| *byte == GUARD), what());
                    stream.extend_from_slice(&front[..length]);
                    contents.extend(content);
                }
            }
            ensure!(zlib_reads_on(&stream, &contents), "{name}, {level:?}");
            let script = "
import sys, zlib
inflater = zlib.decompressobj(-15)
sys.stdout.buffer.write(inflater.decompress(open(sys.argv[1], 'rb').read()))
assert not inflater.eof and not inflater.unused_data
";
            if let Some(read) = python(script, &[stream])? {
                ensure!(read == contents, "Python reads something else");
            }
        }
    }
    Ok(())
}

#[test]
fn no_encoder_writes_beyond_its_room() -> Result<()> {
    for (name, deflate) in engines()? {
        for level in levels() {
            for size in SIZES {
                let mut encoder = deflate.encoder(level, size);
                for kind in [Kind::Text, Kind::Random, Kind::Sparse] {
                    let content = content(kind, size);
                    let mut out = vec![GUARD; 2 * size + 64];
                    let length = encoder.encode(&content, &mut out).context("no room")?;
                    for room in [0, 1, 7, 8, length / 2, length - 1, length, length + 1] {
                        out.fill(GUARD);
                        let (front, guard) = out.split_at_mut(room);
                        let what = format!("{name}, {level:?}, {kind:?}: {size} into {room}");
                        if let Some(length) = encoder.encode(&content, front) {
                            ensure!(zlib_reads(&front[..length], &content), "{what}");
                        } else {
                            ensure!(room < length + Encoder::SPARE, "{what}");
                        }
                        ensure!(guard.iter().all(|byte| *byte == GUARD), "{what}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn content_that_is_longer_than_agreed_is_not_taken() -> Result<()> {
    for (name, deflate) in engines()? {
        for size in [1, 4096, 65536] {
            let mut encoder = deflate.encoder(Level::FASTEST, size);
            let encoded = encoder.encode(&vec![0; size + 1], &mut vec![0; 2 * size + 64]);
            ensure!(encoded.is_none(), "{name}");
        }
    }
    Ok(())
}

#[test]
fn higher_levels_make_no_more() -> Result<()> {
    let mut content = fill(1, 4096, 16 * 8);
    // Most of a guest's memory is neither random nor of a single byte.
    let mut source = PageSource::new(2);
    content
        .chunks_mut(4096)
        .step_by(2)
        .for_each(|page| source.fill(Kind::Text, page));
    for (name, deflate) in engines()? {
        for size in [4096, 65536] {
            let mut before = usize::MAX;
            for level in levels() {
                let mut encoder = deflate.encoder(level, size);
                let mut out = vec![0; 2 * size];
                let lengths = content
                    .chunks(size)
                    .map(|content| encoder.encode(content, &mut out).context("no room"));
                let sum = lengths.sum::<Result<usize>>()?;
                // On content as regular as this, an upper level may lose a little to the one below.
                let most = before.saturating_add(before / 100);
                ensure!(sum <= most, "{name}, {level:?}: {sum} after {before}");
                before = sum;
            }
        }
    }
    Ok(())
}

#[test]
fn bytes_that_are_no_stream() -> Result<()> {
    let deflate = Deflate::built_in();
    let page = content(Kind::Text, 4096);
    let mut random = PageSource::new(7);
    for (_, engine) in engines()? {
        for level in [1, 2, 9].into_iter().filter_map(Level::new) {
            let mut stream = vec![0; 8192];
            let length = engine.encoder(level, 4096).encode(&page, &mut stream);
            stream.truncate(length.context("no room")?);
            let mut decoder = deflate.decoder();
            let mut exact = |stream: &[u8], len| decoder.decode_exact(stream, &mut vec![0; len]);
            for cut in 0..stream.len() {
                ensure!(exact(&stream[..cut], 4096).is_err(), "cut at {cut}");
            }
            let too_long = DecodeError::TooLong { wanted: 4095 };
            ensure!(exact(&stream, 4095) == Err(too_long));
            let (written, wanted) = (4096, 4097);
            ensure!(exact(&stream, 4097) == Err(DecodeError::Short { written, wanted }));
            let (read, left) = (stream.len(), 1);
            let more = [&stream[..], &[0]].concat();
            ensure!(exact(&more, 4096) == Err(DecodeError::LeftOver { read, left }));
            // A changed stream may be another one, but then it is so for everybody.
            for _ in 0..2000 {
                let mut changed = stream.clone();
                changed[random.below(read)] ^= 1 << random.below(8);
                let mut decoded = vec![0; 4096];
                let is_stream = deflate
                    .decoder()
                    .decode_exact(&changed, &mut decoded)
                    .is_ok();
                ensure!(
                    is_stream == zlib_reads(&changed, &decoded),
                    "{changed:02x?}"
                );
            }
        }
    }
    Ok(())
}

/// Bits as they follow each other in a stream, in writing.
fn stream(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').collect();
    let byte = |bits: &[u8]| (0..).zip(bits).map(|(at, bit)| (bit - b'0') << at).sum();
    bits.chunks(8).map(byte).collect()
}

#[test]
fn streams_that_reach_too_far() -> Result<()> {
    // A last block with fixed codes, the literals 0 and 0, a match of 3 at a distance of 1 to 4, and the
    // end.
    let with_distance = |distance: &str| {
        stream(&format!(
            "1 10 00110000 00110000 0000001 {distance} 0000000"
        ))
    };
    let mut decoder = Deflate::built_in().decoder();
    let mut out = [1; 5];
    for distance in ["00000", "00001"] {
        decoder.decode_exact(&with_distance(distance), &mut out)?;
        ensure!(out == [0; 5]);
    }
    for distance in ["00010", "00011", "11101 1111111111111", "11110", "11111"] {
        let result = decoder.decode_exact(&with_distance(distance), &mut out);
        ensure!(
            result == Err(DecodeError::BadData),
            "{distance}: {result:?}"
        );
    }
    // No such block; a length symbol that there is not; stored blocks whose lengths do not agree.
    for bits in [
        "1 11 00000",
        "1 10 00110000 11000110 00000 0000000",
        "1 00 00000 10000000 00000000 11111111 11111111 00000000",
    ] {
        let result = decoder.decode_exact(&stream(bits), &mut out);
        ensure!(result.is_err(), "{bits}");
    }
    Ok(())
}

#[test]
fn stored_blocks_are_read_by_others() -> Result<()> {
    for size in SIZES.into_iter().chain([1 << 20]) {
        let content = content(Kind::Random, size);
        let mut out = vec![0; stored_len(size)];
        ensure!(
            store(&content, &mut out, Stream::Ends) == Some(out.len()),
            "{size}"
        );
        ensure!(zlib_reads(&out, &content), "{size}");
    }
    Ok(())
}

/// Whether zlib-rs takes all of `stream` for one that holds `content`.
fn zlib_reads(stream: &[u8], content: &[u8]) -> bool {
    // One byte more, so that it comes to the end of the stream in any case.
    let mut decoded = vec![0; content.len() + 1];
    let mut inflater = Decompress::new(false);
    let status = inflater.decompress(stream, &mut decoded, FlushDecompress::Finish);
    matches!(status, Ok(Status::StreamEnd))
        && inflater.total_in() == stream.len() as u64
        && inflater.total_out() == content.len() as u64
        && decoded.starts_with(content)
}

/// The same of a stream that goes on.
fn zlib_reads_on(stream: &[u8], content: &[u8]) -> bool {
    let mut decoded = vec![0; content.len() + 1];
    let mut inflater = Decompress::new(false);
    let status = inflater.decompress(stream, &mut decoded, FlushDecompress::Sync);
    matches!(status, Ok(Status::Ok))
        && inflater.total_in() == stream.len() as u64
        && inflater.total_out() == content.len() as u64
        && decoded.starts_with(content)
}
