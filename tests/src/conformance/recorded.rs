//! Migrations that real QEMUs sent, as recorded in this package's `vectors`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use multifd_core::PageSize;
use multifd_core::wire::{INIT_PACKET_LEN, MethodId, RamHeader, ram_header_len};

use super::{Guest, Subject, pack, setup, unpack};

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
    let page_size = PageSize::X86;
    let content = Folder::memory()?;
    let source = Guest::with(page_size, &content)?;
    let target = Guest::untouched(page_size, content.len() / page_size.bytes())?;
    let setup = setup(page_size)?;
    let mut sender = subject.method.send_setup(&setup)?;
    let mut receiver = subject.method.recv_setup(&setup)?;
    let offsets: Vec<u64> = (0..content.len() / page_size.bytes())
        .map(|page| source.offset(page))
        .collect();
    for packet in offsets.chunks(page_size.pages_per_packet()) {
        let payload = pack(&mut *sender, &source, packet)?;
        unpack(&mut *receiver, &payload, &target, packet)?.filled()?;
    }
    target.ensure_received(&source, &offsets)
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}
