// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How `early-sections.bin` is laid out.
//!
//! It has the sections that devices sent before the end of RAM, in the order in which they came. Of each:
//!
//! | size | field |
//! |---|---|
//! | 1 | which it is, as on the wire: 1 START, 2 PART, 3 END, 4 FULL |
//! | 1 | its place: 0 before RAM's START section, 1 behind it, 2 behind one of RAM's PART sections |
//! | 4 | its id |
//! | 1 + n | the device's name, those of PART and END sections too |
//! | 4 | the device's instance |
//! | 4 | the version of its state's layout |
//! | 4 + n | a piece of its data, up to 1 MiB; any number of pieces |
//! | 4 | 0: it has no more data |
//!
//! All integers are big endian. A section's length is known only at its end, hence the pieces.

use std::io::{self, Read};

use anyhow::{Context as _, bail, ensure};
use multifd_migration::stream::{EarlyPlace, SectionHead, SectionKind};

/// A section's head and place, as bytes.
pub(super) fn encode(head: &SectionHead, place: EarlyPlace) -> io::Result<Vec<u8>> {
    let name = head.idstr.as_bytes();
    let len = u8::try_from(name.len()).map_err(io::Error::other)?;
    let kind = KINDS.iter().find(|(_, kind)| *kind == head.kind);
    let place = EarlyPlace::ALL.iter().position(|one| *one == place);
    let (Some((kind, _)), Some(Ok(place))) = (kind, place.map(u8::try_from)) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut bytes = vec![*kind, place];
    bytes.extend(head.id.to_be_bytes());
    bytes.push(len);
    bytes.extend(name);
    bytes.extend(head.instance.to_be_bytes());
    bytes.extend(head.version.to_be_bytes());
    Ok(bytes)
}

/// Reads a section's head and place; `None` at the end of the file.
pub(super) fn decode(file: &mut impl Read) -> anyhow::Result<Option<(SectionHead, EarlyPlace)>> {
    let mut kind = Vec::new();
    file.take(1).read_to_end(&mut kind)?;
    let Some(kind) = kind.first() else {
        return Ok(None);
    };
    let (_, kind) = KINDS
        .iter()
        .find(|(byte, _)| byte == kind)
        .with_context(|| format!("a section of type {kind}, wanted 1 to 4"))?;
    let [place] = array(file)?;
    let Some(place) = EarlyPlace::ALL.get(usize::from(place)) else {
        bail!("a section at place {place}, wanted 0 to 2");
    };
    let id = u32::from_be_bytes(array(file)?);
    let [len] = array(file)?;
    let mut name = vec![0; len.into()];
    file.read_exact(&mut name).context(ENDS)?;
    let idstr = String::from_utf8(name).context("a device's name")?;
    ensure!(
        !idstr.is_empty() && !idstr.contains('\0'),
        "{idstr:?} is not a valid device name"
    );
    let head = SectionHead {
        kind: *kind,
        id,
        idstr,
        instance: u32::from_be_bytes(array(file)?),
        version: u32::from_be_bytes(array(file)?),
    };
    Ok(Some((head, *place)))
}

/// Reads the next piece of a section's data into `piece`; answers whether there was one.
pub(super) fn read_piece(file: &mut impl Read, piece: &mut Vec<u8>) -> anyhow::Result<bool> {
    let len = u32::from_be_bytes(array(file)?);
    ensure!(
        len <= MAX_PIECE,
        "a piece of {len} bytes, wanted at most {MAX_PIECE}"
    );
    piece.clear();
    piece.resize(usize::try_from(len)?, 0);
    file.read_exact(piece).context(ENDS)?;
    Ok(len > 0)
}

fn array<const N: usize>(file: &mut impl Read) -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).context(ENDS)?;
    Ok(bytes)
}

const KINDS: [(u8, SectionKind); 4] = [
    (1, SectionKind::Start),
    (2, SectionKind::Part),
    (3, SectionKind::End),
    (4, SectionKind::Full),
];
/// More bytes than a program has to hold at once.
const MAX_PIECE: u32 = 1 << 20;
const ENDS: &str = "the file ends in a section";
