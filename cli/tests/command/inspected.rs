//! Folders and recordings, looked into.

use anyhow::{Result, ensure};

use crate::harness::{Folder, run};

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
