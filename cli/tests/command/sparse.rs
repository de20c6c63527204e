// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Files of which little has ever been written.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::harness::{recv, send};

const LEN: u64 = 2 << 30;
/// What is written: begin and length, both of whole pages. The last page of all is among it.
const DATA: [(u64, u64); 4] = [
    (0, 4096),
    (5 << 20, 1 << 20),
    (1 << 30, 64 << 10),
    (LEN - 4096, 4096),
];

#[test]
fn holes_are_neither_read_nor_filled() -> Result<()> {
    for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        if !parent.is_dir() {
            continue;
        }
        let folder = tempfile::tempdir_in(&parent)?;
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        let source = File::create_new(path("source"))?;
        source.set_len(LEN)?;
        for (at, len) in DATA {
            source.write_all_at(&content(at, len)?, at)?;
        }
        source.sync_all()?;
        File::create_new(path("in-place"))?.set_len(LEN)?;
        let before = bytes(&path("source"))?;
        let from = format!("unix:{}", text("socket"));
        for args in [
            &["--ram", &text("new")][..],
            &["--ram", &text("in-place"), "--in-place"],
            &["--save", &text("kept")],
        ] {
            let (receiving, address) = recv(&from, args)?;
            let sent = send(&address, &["--ram", &text("source")])?;
            receiving.finish()?.json(0)?;
            let sent = sent.json(0)?;
            let data: u64 = DATA.iter().map(|(_, len)| len / 4096).sum();
            ensure!(sent["ram"]["normal"] == data, "{sent:#}");
        }
        let after = bytes(&path("source"))?;
        ensure!(after == before, "{parent:?}: {before}, {after}");
        check(&path("new"))?;
        check(&path("in-place"))?;
        check(&ram_of(&path("kept"))?)?;

        let (receiving, address) = recv(&from, &["--ram", &text("again")])?;
        send(&address, &["--load", &text("kept")])?.json(0)?;
        receiving.finish()?.json(0)?;
        check(&path("again"))?;
    }
    Ok(())
}

/// All that was written is there, and little more takes room.
fn check(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    ensure!(file.metadata()?.len() == LEN);
    let context = || path.display().to_string();
    for (at, len) in DATA {
        let mut got = vec![0; usize::try_from(len)?];
        file.read_exact_at(&mut got, at)?;
        ensure!(got == content(at, len)?, "{}, {at:#x}", context());
    }
    let room = bytes(path).with_context(context)?;
    ensure!(room < 16 << 20, "{}: {room} bytes", context());
    Ok(())
}

/// Bytes that a file takes.
fn bytes(path: &Path) -> Result<u64> {
    Ok(path.metadata()?.blocks() * 512)
}

fn content(at: u64, len: u64) -> Result<Vec<u8>> {
    let page = |page: u64| (page % 251).to_le_bytes()[0] | 1;
    let pages = (at / 4096..(at + len) / 4096).flat_map(|number| [page(number); 4096]);
    let bytes: Vec<u8> = pages.collect();
    ensure!(bytes.len() as u64 == len);
    Ok(bytes)
}

/// The file of the memory in a folder that was kept.
fn ram_of(folder: &Path) -> Result<PathBuf> {
    let mut entries = walk(folder)?;
    entries.retain(|path| path.metadata().is_ok_and(|file| file.len() == LEN));
    entries.pop().context("no file of that length")
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
