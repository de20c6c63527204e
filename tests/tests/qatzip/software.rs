// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This project's software.

use std::sync::Arc;

use anyhow::{Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{Guest, Kind, PageSource, fill, pack_all, python};

use crate::forms;
use crate::members::{self, PAGE, PER_PACKET, content};

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
    forms::check_legal(&*open(1)?)
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    forms::check_refused(&*open(1)?)?;
    forms::check_too_many(&*open(1)?)
}

fn send(level: u8) -> Result<Vec<Vec<u8>>> {
    pack_all(
        &*open(level)?,
        &Guest::with(PageSize::X86, &content())?,
        PER_PACKET,
    )
}

fn open(level: u8) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software);
    members::open(level, &options)
}
