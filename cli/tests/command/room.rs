// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory for which there is no room, found out in the middle: an error, and nobody is killed.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::harness::{Folder, METHODS, PAGE, noise, recv, start};

const LOCAL: i32 = 1;
const PEER_OR_CONNECTION: [i32; 2] = [3, 4];

/// A small file system in memory, unmounted on drop.
pub(crate) struct Tmpfs<'f>(&'f Path);

impl<'f> Tmpfs<'f> {
    /// Mounts it; `None`, with a word on stderr, for those who may not.
    pub(crate) fn mount(at: &'f Path, bytes: usize) -> Result<Option<Self>> {
        std::fs::create_dir(at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"]);
        let mounted = mount.arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Ok(Some(Self(at)));
        }
        writeln!(
            std::io::stderr(),
            "skipped: only root may mount a small tmpfs"
        )?;
        Ok(None)
    }

    /// Uses up all its room.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("filler"))?;
        while file.write_all(&[1; PAGE]).is_ok() {}
        Ok(())
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Memory that no method makes small.
fn memory(bytes: usize) -> Vec<u8> {
    noise(&mut 0x1234_5678_9abc_def0, bytes)
}

/// Receives into a tmpfs that is full before all has come.
fn into_full_tmpfs(method: &str, in_place: bool) -> Result<()> {
    let folder = Folder::new()?;
    let small = folder.path("small");
    let Some(tmpfs) = Tmpfs::mount(&small, 3 << 20)? else {
        return Ok(());
    };
    let source = folder.write("source", &memory(2 << 20))?;
    let target = small.join("guest").display().to_string();
    let set = format!("multifd-compression={method}");
    let mut args = vec!["--set", &set, "--ram", &target];
    if in_place {
        args.push("--in-place");
        File::create(&target)?.set_len(2 << 20)?;
    }
    let (receiving, to) = recv("tcp:127.0.0.1:0", &args)?;
    let slow = ["--max-bandwidth", "512K", "--set", &set];
    let send = ["send", "--json", "--to", &to, "--ram", &source];
    let sending = start(&[&send[..], &slow].concat())?;
    let partial = if in_place {
        "small/guest"
    } else {
        "small/guest.partial"
    };
    folder.wait_for_memory(partial)?;
    tmpfs.fill()?;
    let received = receiving.finish()?;
    let words = [
        "block \"ram\", offset 0x",
        "no room for the guest's memory",
        &target,
    ];
    received.failed(&[LOCAL], &words)?;
    sending
        .finish()?
        .failed(&PEER_OR_CONNECTION, &["multifd: source"])?;
    ensure!(!folder.exists("small/guest.partial"), "{method}");
    Ok(())
}

#[test]
fn a_tmpfs_that_fills_up_is_an_error() -> Result<()> {
    for method in METHODS {
        into_full_tmpfs(method, false)?;
    }
    into_full_tmpfs("zstd", true)
}

#[test]
fn a_file_that_is_shortened_while_it_is_sent_is_an_error() -> Result<()> {
    let legacy = "zero-page-detection=legacy";
    for (method, detection) in [
        ("none", "zero-page-detection=multifd"),
        ("zstd", "zero-page-detection=multifd"),
        ("zlib", "zero-page-detection=none"),
        ("none", legacy),
        ("qpl", legacy),
    ] {
        let folder = Folder::new()?;
        let source = folder.write("source", &memory(2 << 20))?;
        let set = format!("multifd-compression={method}");
        let target = folder.text("guest");
        let (receiving, to) = recv("tcp:127.0.0.1:0", &["--set", &set, "--ram", &target])?;
        let slow = ["--max-bandwidth", "512K", "--set", &set, "--set", detection];
        let send = ["send", "--json", "--to", &to, "--ram", &source];
        let sending = start(&[&send[..], &slow].concat())?;
        folder.wait_for_memory("guest.partial")?;
        File::options().write(true).open(&source)?.set_len(0)?;
        let sent = sending.finish()?;
        let words = ["block \"ram\", offset 0x", "memory cannot be read", &source];
        sent.failed(&[LOCAL], &words)?;
        receiving
            .finish()?
            .failed(&PEER_OR_CONNECTION, &["multifd: destination"])?;
        assert_eq!(folder.names()?, ["source"], "{method}");
    }
    Ok(())
}
