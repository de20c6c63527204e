// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sources that allow postcopy, as libvirt and KubeVirt have them do.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use multifd_core::PageSize;
use multifd_core::wire::{BlockName, InitPacket, PacketFlags, PageOffsets, RamHeaderBuffer, Uuid};
use multifd_tests::command::Running;

use crate::harness::{Folder, recv, start};

const PAGE: usize = 4096;
const SHUT: u8 = 1;
/// The return path, and POSTCOPY_ADVISE with the page sizes of host and guest.
const ADVISE: &[u8] = b"\x08\0\x01\0\0\x08\0\x03\0\x10\0\0\0\0\0\x20\x10\0\0\0\0\0\0\0\x10\0";
const HEAD: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x04none";
/// Two pages, of a block of huge pages: its host's page size stands behind its length.
const START: &[u8] = b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x20\x04\
    \x03ram\0\0\0\0\0\0\x20\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
const END: &[u8] = b"\x03\0\0\0\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
const TAIL: &[u8] = b"\0\x06\0\0\0\0";
/// What the source says first when postcopy begins, and then.
const DISCARD: &[u8] = b"\x08\0\x06\0\x16\0\x03ram\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0";
const PACKAGED: &[u8] = b"\x08\0\x07\0\x04\0\0\0\x05\x08\0\x04\0\0";

/// Sends two pages, of which the second is a zero page, and behind them what is left of the main channel. Answers what the
/// destination says.
fn source(path: &Path, rest: &[&[u8]]) -> Result<Vec<u8>> {
    let mut main = UnixStream::connect(path)?;
    let mut header = RamHeaderBuffer::new(PageSize::X86);
    let mut channels = Vec::new();
    for channel in 0..2 {
        let mut connection = UnixStream::connect(path)?;
        let uuid = Uuid::default();
        connection.write_all(&InitPacket { uuid, channel }.encode())?;
        header.set_sync(0);
        connection.write_all(header.as_bytes())?;
        channels.push(connection);
    }
    main.write_all(&[HEAD, ADVISE, START].concat())?;
    let first = channels.first_mut().context("two channels")?;
    pages(&mut header)?;
    first.write_all(header.as_bytes())?;
    first.write_all(&[7; PAGE])?;
    header.set_sync(0);
    for channel in &mut channels {
        channel.write_all(header.as_bytes())?;
    }
    main.write_all(&rest.concat())?;
    let mut answer = vec![0; 8];
    main.read_exact(&mut answer)?;
    Ok(answer)
}

/// The header of a packet with page 0 as it is, and page 1 as a zero page.
fn pages(header: &mut RamHeaderBuffer) -> Result<()> {
    let name = BlockName::new("ram").context("a name")?;
    let pages = PageOffsets {
        normal: &[0],
        zero: &[4096],
    };
    header.set_pages(PacketFlags::default(), 0, &name, pages, 4096)?;
    Ok(())
}

/// A destination with a file that another guest has left behind, a relay before it, and where the relay listens.
fn destination_behind_relay(folder: &Folder) -> Result<(Running, Running)> {
    let ram = folder.write("ram", &[0xaa; 2 * PAGE])?;
    let from = format!("unix:{}", folder.text("destination"));
    let (receiving, to) = recv(&from, &["--ram", &ram, "--in-place"])?;
    let listen = format!("unix:{}", folder.text("relay"));
    let mut relay = start(&[
        "relay", "--json", "--quiet", "--listen", &listen, "--to", &to,
    ])?;
    relay.wait_address()?;
    Ok((receiving, relay))
}

#[test]
fn postcopy_that_never_begins_is_precopy() -> Result<()> {
    let folder = Folder::new()?;
    let (receiving, relay) = destination_behind_relay(&folder)?;
    let answer = source(&folder.path("relay"), &[END, TAIL])?;
    ensure!(answer == [0, SHUT, 0, 4, 0, 0, 0, 0], "{answer:x?}");
    receiving.finish()?.json(0)?;
    relay.finish()?.json(0)?;
    // The zero page has been written, too.
    folder.write("wanted", &[[7; PAGE], [0; PAGE]].concat())?;
    folder.same("ram", "wanted")
}

#[test]
fn postcopy_that_never_begins_is_saved() -> Result<()> {
    let folder = Folder::new()?;
    let from = format!("unix:{}", folder.text("destination"));
    let (receiving, _) = recv(&from, &["--save", &folder.text("guest")])?;
    let answer = source(&folder.path("destination"), &[END, TAIL])?;
    ensure!(answer == [0, SHUT, 0, 4, 0, 0, 0, 0], "{answer:x?}");
    receiving.finish()?.json(0)?;
    folder.write("wanted", &[[7; PAGE], [0; PAGE]].concat())?;
    folder.same("guest/ram/00-ram", "wanted")
}

#[test]
fn postcopy_that_begins_is_refused() -> Result<()> {
    for (command, name) in [(DISCARD, "POSTCOPY_RAM_DISCARD"), (PACKAGED, "PACKAGED")] {
        let folder = Folder::new()?;
        let (receiving, relay) = destination_behind_relay(&folder)?;
        let answer = source(&folder.path("relay"), &[command])?;
        ensure!(answer == [0, SHUT, 0, 4, 0, 0, 0, 1], "{answer:x?}");
        let words = format!("command {name} is not supported: postcopy has begun at the source");
        relay.finish()?.failed(&[3], &[&words])?;
        // It has lost its source, and not heard of the command.
        receiving.finish()?.failed(&[4], &[])?;
        let from = format!("unix:{}", folder.text("second"));
        let (receiving, _) = recv(&from, &["--save", &folder.text("guest")])?;
        let answer = source(&folder.path("second"), &[command])?;
        ensure!(answer == [0, SHUT, 0, 4, 0, 0, 0, 1], "{answer:x?}");
        receiving.finish()?.failed(&[3], &[&words])?;
        ensure!(!folder.exists("guest"));
    }
    Ok(())
}
