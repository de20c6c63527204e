// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Folders and recordings, looked into.

use anyhow::{Result, ensure};

use crate::harness::{Folder, guest, recv, run, send};

fn vector(name: &str) -> String {
    format!("{}/../tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_exit_status_says_whether_it_is_in_order() -> Result<()> {
    let folder = Folder::new()?;
    let main = vector("none-qemu-10.0/main.bin");
    let text = run(&["inspect", &main])?;
    ensure!(
        text.code == Some(0) && text.stdout.contains("globalstate"),
        "{text:?}"
    );
    let record = run(&["inspect", "--json", &main])?.json(0)?;
    assert_eq!(record["machine"], "none");
    let record = run(&["inspect", "--json", &vector("zstd-qemu-10.0/channel-1.bin")])?.json(0)?;
    assert_eq!(record["channel"], 1);

    let bytes = std::fs::read(&main)?;
    let cut = folder.write("cut", &bytes[..100])?;
    let record = run(&["inspect", "--json", &cut])?.json(3)?;
    ensure!(
        record["error"]["what"]
            .as_str()
            .is_some_and(|what| what.contains("ended")),
        "{record:#}"
    );
    let other = folder.write("other", b"something else")?;
    run(&["inspect", &other])?.failed(&[1], &["0x736f6d65, wanted 0x5145564d"])?;
    run(&["inspect", &folder.text("missing")])?.failed(&[1], &["missing"])?;
    run(&["inspect", &folder.text("")])?.failed(&[1], &["manifest.json"])?;
    run(&["inspect"])?.failed(&[2], &["PATH"])
}

#[test]
fn a_saved_guest_that_has_changed_is_not_sent() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(50))?;
    let saved = folder.text("guest");
    let (receiving, address) = recv("tcp:127.0.0.1:0", &["--save", &saved])?;
    send(&address, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    let inspect = ["inspect", "--json", saved.as_str()];
    assert_eq!(run(&inspect)?.json(0)?["checksums"], "not-compared");
    let verify = [&inspect[..], &["--verify"]].concat();
    let record = run(&verify)?.json(0)?;
    assert_eq!(record["checksums"], "match");
    ensure!(
        record["manifest"]["blocks"][0]["crc32"].is_u64(),
        "{record:#}"
    );
    let text = run(&["inspect", "--verify", &saved])?;
    ensure!(text.stdout.contains("all checksums match"), "{text:?}");

    let ram = folder.path("guest/ram/00-ram");
    let mut bytes = std::fs::read(&ram)?;
    bytes[30 * 4096 + 5] ^= 1;
    std::fs::write(&ram, bytes)?;
    let changed = ["00-ram", "not what was kept"];
    run(&verify)?.failed(&[1], &changed)?;
    run(&inspect)?.json(0)?;
    // Before anybody is connected to: nobody listens there.
    send("tcp:127.0.0.1:1", &["--load", &saved])?.failed(&[1], &changed)?;
    run(&["inspect", "--verify", &source])?.failed(&[2], &["not a folder"])
}
