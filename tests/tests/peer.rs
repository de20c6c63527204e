// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The driver of real QEMUs works: they migrate to each other, and failures say why.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_tests::peer::{self, QmpError, RAM_BLOCK};
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn two_qemus_migrate_with_multifd_and_zstd() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let content = fs::read(recorded_ram())?;
    let bytes = u64::try_from(content.len())?;
    let (from, to) = (
        folder.path().join("source"),
        folder.path().join("destination"),
    );
    fs::write(&from, &content)?;

    let uuid = "12345678-9abc-def0-1234-56789abcdef0";
    let describe = || binary.machine().uuid(uuid);
    let mut source = describe().memory_file(&from, bytes).start()?;
    let mut destination = describe()
        .memory_file(&to, bytes)
        .prealloc(true)
        .incoming_defer()
        .start()?;
    for qemu in [&mut source, &mut destination] {
        qemu.set_capabilities(&[("multifd", true), ("events", true)])?;
        qemu.set_parameters(json!({"multifd-channels": 2, "multifd-compression": "zstd"}))?;
    }
    let uri = format!("unix:{}", folder.path().join("socket").display());
    destination.migrate_incoming(&uri)?;
    let cpu_before = source.cpu_time()?;
    source.migrate(&uri)?;

    let info = source.wait_status(&["completed"], LIMIT)?;
    destination.wait_status(&["completed"], LIMIT)?;
    let multifd_bytes = info.pointer("/ram/multifd-bytes").and_then(Value::as_u64);
    ensure!(
        multifd_bytes > Some(1 << 20),
        "pages took another way: {info}"
    );
    ensure!(fs::read(&to)? == content, "the memories differ");
    ensure!(fs::read(&from)? == content, "the source's memory changed");

    destination.wait_event("MIGRATION", LIMIT)?;
    ensure!(source.cpu_time()?.total() >= cpu_before.total());
    ensure!(source.quit()?.success());
    ensure!(destination.quit()?.success());
    Ok(())
}

#[test]
fn a_refused_connection_is_reported_with_its_reason() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let mut source = binary.machine().start()?;
    let socket = source.folder().join("migration");
    // The socket's file stays, without anyone who accepts.
    drop(UnixListener::bind(&socket)?);
    source.migrate(&format!("unix:{}", socket.display()))?;
    let error = source
        .wait_status(&["completed"], LIMIT)
        .expect_err("nobody listens");
    let text = error.to_string();
    ensure!(text.contains("is failed"), "{text}");
    ensure!(text.contains("Connection refused"), "{text}");
    Ok(())
}

#[test]
fn a_refused_command_is_reported_with_its_reason() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let mut qemu = binary.machine().start()?;
    let error = qemu
        .set_parameters(json!({"multifd-channels": 0}))
        .expect_err("there is no migration without channels");
    let refusal: &QmpError = error.downcast_ref().context("not a refusal")?;
    ensure!(refusal.command == "migrate-set-parameters");
    ensure!(
        refusal.description.contains("between 1 and 255"),
        "{refusal}"
    );
    Ok(())
}

#[test]
fn a_qemu_that_does_not_start_is_reported_with_its_stderr() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let error = binary
        .machine()
        .machine_type("no-such-machine")
        .start()
        .expect_err("there is no such machine");
    let text = error.to_string();
    ensure!(text.contains("ended before it connected"), "{text}");
    ensure!(text.contains("unsupported machine type"), "{text}");
    Ok(())
}

#[test]
fn a_destination_that_gives_up_is_seen() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let mut destination = binary.machine().incoming_defer().start()?;
    let socket = destination.folder().join("migration");
    destination.migrate_incoming(&format!("unix:{}", socket.display()))?;
    let mut stream = UnixStream::connect(&socket)?;
    stream.write_all(b"no migration stream")?;
    drop(stream);
    let status = destination.wait_exit(LIMIT)?;
    ensure!(!status.success());
    ensure!(!destination.stderr().is_empty());
    Ok(())
}

#[test]
fn the_memory_block_has_its_name_with_and_without_a_file() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let bytes = 1 << 20;
    let plain = binary.machine().memory(bytes);
    let file = binary
        .machine()
        .memory_file(folder.path().join("ram"), bytes);
    for builder in [plain, file] {
        let mut source = builder.start()?;
        let socket = source.folder().join("migration");
        let listener = UnixListener::bind(&socket)?;
        let capture = thread::spawn(move || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            listener.accept()?.0.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        source.migrate(&format!("unix:{}", socket.display()))?;
        source.wait_status(&["completed"], LIMIT)?;
        let stream = capture
            .join()
            .map_err(|_| anyhow::anyhow!("the capture panicked"))??;

        // In the RAM section: a word with the total and the MEM_SIZE flag, then name and length.
        let mut block_list = (bytes | 4).to_be_bytes().to_vec();
        block_list.push(u8::try_from(RAM_BLOCK.len())?);
        block_list.extend(RAM_BLOCK.as_bytes());
        block_list.extend(bytes.to_be_bytes());
        let found = stream
            .windows(block_list.len())
            .any(|window| window == block_list);
        ensure!(found, "no block {RAM_BLOCK} in {} bytes", stream.len());
    }
    Ok(())
}

fn recorded_ram() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/ram.bin")
}
