// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that real QEMUs sent, as recorded in this package's `vectors`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use multifd_core::PageSize;
use multifd_core::wire::{INIT_PACKET_LEN, MethodId, RamHeader, ram_header_len};

use super::{Guest, Subject, pack_all, unpack_all};

/// The folder of recorded migrations.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The recorded migration of this name.
    pub fn new(name: &str) -> Self {
        Self(vectors().join(name))
    }

    /// The guest memory that was migrated in all of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn memory() -> Result<Vec<u8>> {
        let path = vectors().join("ram.bin");
        fs::read(&path).with_context(|| path.display().to_string())
    }

    /// The pages of that memory that are not zero, back to back.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn normal_pages() -> Result<Vec<u8>> {
        let memory = Self::memory()?;
        let pages = memory.chunks(PageSize::X86.bytes());
        let normal = pages.filter(|page| page.iter().any(|byte| *byte != 0));
        Ok(normal.flatten().copied().collect())
    }

    /// Bytes of all payloads of the two channels together.
    ///
    /// # Errors
    /// A channel cannot be read.
    pub fn payload_bytes(&self) -> Result<usize> {
        let mut bytes = 0;
        for channel in 0..2 {
            let packets = packets(&self.channel(channel)?)?;
            bytes += packets
                .iter()
                .map(|packet| packet.payload.len())
                .sum::<usize>();
        }
        Ok(bytes)
    }

    /// All bytes of one multifd channel, from its first one on.
    ///
    /// # Errors
    /// There is no such channel, or its file cannot be read.
    pub fn channel(&self, number: u8) -> Result<Vec<u8>> {
        let path = self.0.join(format!("channel-{number}.bin"));
        fs::read(&path).with_context(|| path.display().to_string())
    }
}

/// A packet with pages, or an empty one, of a recorded channel.
#[derive(Clone, Debug)]
pub struct Packet {
    /// How the pages are compressed.
    pub method: MethodId,
    /// Where the pages with payload are, in bytes.
    pub normal: Vec<u64>,
    /// Where the zero pages are, in bytes.
    pub zero: Vec<u64>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// The packets of a recorded channel, which starts with an initial packet.
///
/// # Errors
/// A header that is no RAM packet's, or an end inside of a packet.
pub fn packets(channel: &[u8]) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    let mut rest = channel
        .get(INIT_PACKET_LEN..)
        .context("no initial packet")?;
    while !rest.is_empty() {
        let (head, after) = rest
            .split_at_checked(ram_header_len(PageSize::X86))
            .context("an end inside of a header")?;
        let header = RamHeader::decode(head, PageSize::X86)?;
        let (payload, after) = after
            .split_at_checked(header.payload_len)
            .context("an end inside of a payload")?;
        let mut normal: Vec<u64> = header.offsets().collect();
        packets.push(Packet {
            method: header.flags.method(),
            zero: normal.split_off(header.normal_pages()),
            normal,
            payload: payload.to_vec(),
        });
        rest = after;
    }
    Ok(packets)
}

/// Sends the recorded guest memory, all of its pages, through one channel.
///
/// # Errors
/// What did not come out as it went in.
pub fn check_memory(subject: &Subject) -> Result<()> {
    let source = Guest::with(PageSize::X86, &Folder::memory()?)?;
    let most = PageSize::X86.pages_per_packet();
    let payloads = pack_all(&*subject.method, &source, most)?;
    unpack_all(&*subject.method, &payloads, &source, most)?.filled()
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}
