// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Streams of `multifd-deflate`, next to another implementation of the format.

use anyhow::{Context, Result};
use flate2::{Decompress, FlushDecompress, Status};
use multifd_deflate::{Decoded, Decoder, Deflate, Isal, Level, Stream, store, stored_len};

use super::Target;
use crate::conformance::fill;

/// One stream, and content of one.
pub(super) const DEFLATE: Target = Target {
    name: "deflate",
    run: |bytes| {
        let is_stream = decode(bytes);
        encode(bytes);
        encode_parts(bytes);
        is_stream
    },
    seeds,
};

/// Two bytes say how much content is wanted at most, the others are a stream. Answers whether they were.
fn decode(bytes: &[u8]) -> bool {
    let Some((room, stream)) = bytes.split_first_chunk() else {
        return false;
    };
    let mut out = vec![0; u16::from_be_bytes(*room).into()];
    let mut decoder = Deflate::built_in().decoder();
    let ours = decoder.decode(stream, &mut out);
    if let Some((theirs, content)) = reference(stream, out.len()) {
        assert_eq!(ours, Ok(theirs));
        assert!(out.starts_with(&content), "another content");
    }
    let is_exact = ours.is_ok_and(|end| end.read == stream.len() && end.written == out.len());
    assert_eq!(
        decoder.decode_exact(stream, &mut out).is_ok(),
        is_exact,
        "{ours:?}"
    );
    ours.is_ok()
}

/// What zlib-rs makes of the stream at the start of `bytes`; `None` if it is none for it. libdeflate
/// takes a little more: codes of which some are left unused.
fn reference(bytes: &[u8], room: usize) -> Option<(Decoded, Vec<u8>)> {
    let mut content = vec![0; room];
    let mut inflater = Decompress::new(false);
    let status = inflater.decompress(bytes, &mut content, FlushDecompress::Finish);
    if !matches!(status, Ok(Status::StreamEnd)) {
        return None;
    }
    let end = Decoded {
        read: usize::try_from(inflater.total_in()).ok()?,
        written: usize::try_from(inflater.total_out()).ok()?,
    };
    content.truncate(end.written);
    Some((end, content))
}

/// Makes streams of the bytes with every encoder there is.
fn encode(bytes: &[u8]) {
    for (isal, level) in [(Isal::Never, 1), (Isal::Never, 9), (Isal::Auto, 1)] {
        let Ok(deflate) = Deflate::open(&isal) else {
            continue;
        };
        let level = Level::new(level).unwrap_or(Level::FASTEST);
        for size in [4096, 65536] {
            let mut encoder = deflate.encoder(level, size);
            let mut out = vec![GUARD; 2 * size];
            for content in bytes.chunks(size) {
                let room = stored_len(content.len());
                let (stream, guard) = out.split_at_mut(room);
                let length = encoder.encode(content, stream);
                let length = length
                    .or_else(|| store(content, stream, Stream::Ends))
                    .unwrap_or(0);
                check(
                    &mut deflate.decoder(),
                    stream.get(..length).unwrap_or_default(),
                    content,
                );
                assert!(guard.iter().all(|byte| *byte == GUARD), "{isal:?} wrote on");
            }
        }
    }
}

/// Makes parts of one stream of the bytes with every encoder there is.
fn encode_parts(bytes: &[u8]) {
    for (isal, level) in [(Isal::Never, 1), (Isal::Never, 9), (Isal::Auto, 1)] {
        let Ok(deflate) = Deflate::open(&isal) else {
            continue;
        };
        let level = Level::new(level).unwrap_or(Level::FASTEST);
        let mut encoder = deflate.part_encoder(level);
        let mut stream = Vec::new();
        for content in bytes.chunks(PART) {
            let mut out = vec![GUARD; 2 * PART];
            let (part, guard) = out.split_at_mut(content.len() + ROOM);
            let length = encoder.encode(content, part).unwrap_or(0);
            stream.extend_from_slice(part.get(..length).unwrap_or_default());
            assert!(guard.iter().all(|byte| *byte == GUARD), "{isal:?} wrote on");
        }
        let mut end = [0; 5];
        let length = store(&[], &mut end, Stream::Ends).unwrap_or(0);
        stream.extend_from_slice(end.get(..length).unwrap_or_default());
        check(&mut deflate.decoder(), &stream, bytes);
    }
}

fn check(decoder: &mut Decoder, stream: &[u8], content: &[u8]) {
    let mut decoded = vec![0; content.len()];
    assert_eq!(decoder.decode_exact(stream, &mut decoded), Ok(()));
    assert!(decoded == content, "another content");
    let theirs = reference(stream, content.len()).map(|(end, content)| (end.read, content));
    assert_eq!(
        theirs.as_ref().map(|(read, _)| *read),
        Some(stream.len()),
        "zlib-rs"
    );
    assert!(theirs.is_some_and(|(_, theirs)| theirs == content));
}

/// Streams of each kind of block.
fn seeds() -> Result<Vec<Vec<u8>>> {
    let content = fill(5, 512, 24);
    let deflate = Deflate::built_in();
    let mut seeds = Vec::new();
    for (len, level) in [(1, 1), (700, 1), (4096, 1), (4096, 2), (12288, 9)] {
        let content = content.get(..len).context("content")?;
        let level = Level::new(level).context("level")?;
        let mut stream = vec![0; 2 * len + 64];
        let length = deflate.encoder(level, len).encode(content, &mut stream);
        let stream = stream.get(..length.context("no room")?).context("stream")?;
        let room = u16::try_from(len)?.to_be_bytes();
        seeds.push([&room[..], stream].concat());
    }
    let mut stored = vec![0; stored_len(900)];
    store(
        content.get(..900).context("content")?,
        &mut stored,
        Stream::Ends,
    )
    .context("no room")?;
    seeds.push([&900u16.to_be_bytes()[..], &stored].concat());
    Ok(seeds)
}

/// What is behind an output, and must stay.
const GUARD: u8 = 0x5a;
/// Bytes of content in a part, the last one's but for a rest, ..
const PART: usize = 3000;
/// .. and how much longer a part may become.
const ROOM: usize = 600;
