// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What real QEMUs have sent rebuilds their guest's memory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use migration_params::{Compression, Parameters};
use multifd_core::transport::SocketTransport;
use multifd_migration::{Destination, DestinationConfig};
use multifd_tests::host::{self, FileHost, file_memory};
use tempfile::TempDir;

#[test]
fn none() -> Result<()> {
    rebuild("none-qemu-10.0", Compression::None)
}

#[test]
fn none_with_zero_pages_on_the_main_channel() -> Result<()> {
    rebuild("none-legacy-zero-qemu-10.0", Compression::None)
}

#[test]
fn zlib() -> Result<()> {
    rebuild("zlib-qemu-10.0", Compression::Zlib)
}

#[test]
fn zstd() -> Result<()> {
    rebuild("zstd-qemu-10.0", Compression::Zstd)
}

#[test]
fn zstd_with_a_barrier_per_section() -> Result<()> {
    rebuild("zstd-per-section-qemu-10.0", Compression::Zstd)
}

#[test]
fn qatzip() -> Result<()> {
    rebuild("qatzip-qemu-10.2", Compression::Qatzip)
}

#[test]
fn qpl() -> Result<()> {
    rebuild("qpl-qemu-10.2", Compression::Qpl)
}

/// Plays a recorded migration to a destination, several times with the connections in another
/// order, into memory that is zero and into memory that is not.
fn rebuild(vector: &str, method: Compression) -> Result<()> {
    let want = fs::read(vectors().join("ram.bin"))?;
    for (order, zeroed) in [
        (["main", "channel-0", "channel-1"], true),
        (["channel-1", "main", "channel-0"], false),
        (["channel-0", "channel-1", "main"], true),
    ] {
        let content = if zeroed { 0 } else { 0x5a };
        let got = play(vector, method, order, &vec![content; want.len()], zeroed)
            .with_context(|| format!("connections in the order {order:?}"))?;
        ensure!(
            got == want,
            "the memory differs at {:?}",
            first_difference(&got, &want)
        );
    }
    Ok(())
}

fn play(
    vector: &str,
    method: Compression,
    order: [&str; 3],
    before: &[u8],
    zeroed: bool,
) -> Result<Vec<u8>> {
    let folder = TempDir::new()?;
    let file = folder.path().join("ram");
    fs::write(&file, before)?;
    let parameters = Parameters {
        multifd_compression: method,
        ..Parameters::default()
    };
    let mut config = DestinationConfig::default();
    config.receiver.memory_is_zeroed = zeroed;
    config.machine = Some("none".into());
    let destination = Destination::new(config, host::open(&parameters)?);

    let mut players = Vec::new();
    for name in order {
        let bytes = fs::read(vectors().join(vector).join(format!("{name}.bin")))?;
        let (mut source, connection) = UnixStream::pair()?;
        destination.accept(Box::new(SocketTransport::new(connection)?))?;
        players.push(thread::spawn(move || source.write_all(&bytes)));
    }
    let mut host = FileHost::new(file_memory(&[("ram", &file)])?);
    let report = destination.run(&mut host)?;
    for player in players {
        player.join().map_err(|_| anyhow!("a player panicked"))??;
    }

    ensure!(host.machine.as_deref() == Some("none"));
    let devices = host.devices.context("no device state")?;
    ensure!(
        devices.sections.as_ref().map(Vec::len) == Some(2),
        "{:?}",
        devices.sections
    );
    ensure!(report.ram_bytes == u64::try_from(before.len())?);
    ensure!(report.channels.total().wire_bytes == channel_bytes(vector)?);
    Ok(fs::read(&file)?)
}

fn channel_bytes(vector: &str) -> Result<u64> {
    let len = |name: &str| -> Result<u64> {
        Ok(File::open(vectors().join(vector).join(name))?
            .metadata()?
            .len())
    };
    Ok(len("channel-0.bin")? + len("channel-1.bin")?)
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    one.iter().zip(other).position(|(one, other)| one != other)
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}
