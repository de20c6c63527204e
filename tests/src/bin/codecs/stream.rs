// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The streams that some methods put into their frames.

use anyhow::{Context, Result, ensure};
use multifd_core::MethodOptions;
use multifd_core::geometry::PACKET_BYTES;
use multifd_deflate::{Deflate, Encoder, Isal, Level, Stream, store, stored_len};

use crate::subject::{Codec, Memory, Sample, Subject, timed};

/// Bytes of content of a stream of `qpl` and `uadk`.
pub(crate) const PAGE: usize = 4096;
/// Bytes of content of a stream of `qatzip`.
pub(crate) const MEMBER: usize = 64 * 1024;

/// Streams of this size at each level, without ISA-L and, where it is there, with it.
pub(crate) fn subjects(
    name: &str,
    size: usize,
    levels: &[u8],
    options: &MethodOptions,
) -> Result<Vec<Subject>> {
    let mut engines = vec![(String::new(), Deflate::built_in())];
    if let Some(library) = options.text(Isal::OPTION) {
        let deflate = Deflate::open(&Isal::from_option(Some(library)))?;
        engines.push((format!(", {}", deflate.implementation()), deflate));
    }
    let mut subjects = Vec::new();
    for level in levels {
        for (suffix, deflate) in &engines {
            let streams = Streams {
                deflate: deflate.clone(),
                level: Level::new(*level).with_context(|| format!("no level {level}"))?,
                size,
            };
            subjects.push(Subject::new(format!("{name} {level}{suffix}"), streams));
        }
    }
    Ok(subjects)
}

struct Streams {
    deflate: Deflate,
    level: Level,
    size: usize,
}

impl Codec for Streams {
    fn run(&mut self, memory: &Memory) -> Result<Sample> {
        let mut encoder = self.deflate.encoder(self.level, self.size);
        let mut decoder = self.deflate.decoder();
        let mut decoded = vec![0; PACKET_BYTES];
        let mut sample = Sample::ZERO;
        // By packets: to look at the clock for each page would cost more than it tells.
        for content in memory.content.chunks(PACKET_BYTES) {
            let (streams, time) = timed(|| encode(&mut encoder, content, self.size));
            let streams = streams.context("no room")?;
            sample.compress += time;
            sample.bytes += streams.iter().map(Vec::len).sum::<usize>();

            let decoded = decoded.get_mut(..content.len()).context("content")?;
            let (result, time) = timed(|| {
                let mut parts = decoded.chunks_mut(self.size).zip(&streams);
                parts.try_for_each(|(part, stream)| decoder.decode_exact(stream, part))
            });
            result?;
            sample.decompress += time;
            ensure!(decoded == content, "another content");
        }
        Ok(sample)
    }
}

fn encode(encoder: &mut Encoder, content: &[u8], size: usize) -> Option<Vec<Vec<u8>>> {
    let parts = content.chunks(size);
    parts
        .map(|content| {
            let mut stream = vec![0; stored_len(content.len())];
            let encoded = encoder.encode(content, &mut stream);
            let length = encoded.or_else(|| store(content, &mut stream, Stream::Ends))?;
            stream.truncate(length);
            Some(stream)
        })
        .collect()
}
