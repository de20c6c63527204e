// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Members as other implementations write them, and who receives them.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc, GzBuilder};
use multifd_core::{MethodFactory as _, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{Guest, Verdict, fill, unpack_all};

pub(crate) const PAGE: usize = 4096;
pub(crate) const PER_PACKET: usize = 40;

/// A member in QATzip's form.
pub(crate) fn qz(content: &[u8], level: u32) -> Result<Vec<u8>> {
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
pub(crate) fn plain(content: &[u8], level: u32) -> Result<Vec<u8>> {
    member(GzBuilder::new(), content, level)
}

/// A member with all else that a header may have, but no lengths.
pub(crate) fn named(content: &[u8], level: u32) -> Result<Vec<u8>> {
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

/// Receives payloads of the first packets of [`content`].
pub(crate) fn receive(method: &dyn MultifdMethods, payloads: &[Vec<u8>]) -> Result<Verdict> {
    let len = payloads.len() * PER_PACKET * PAGE;
    let content: Vec<u8> = content().into_iter().take(len).collect();
    let guest = Guest::with(PageSize::X86, &content)?;
    unpack_all(method, payloads, &guest, PER_PACKET)
}

/// The method, at a level and with what else is chosen.
pub(crate) fn open(level: u8, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>> {
    let options = options.clone().with("multifd-qatzip-level", level);
    Ok(multifd_qatzip::QatzipFactory.open(&options)?)
}

/// Two whole packets and a half, of every kind of page.
pub(crate) fn content() -> Vec<u8> {
    fill(12, PAGE, 100)
}
