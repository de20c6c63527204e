// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Device state that is larger than the command's memory.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use crc32fast::Hasher;
use multifd_core::PageSize;
use multifd_core::wire::{DeviceStateHeader, InitPacket, RamHeaderBuffer, Uuid};

use crate::harness::{Folder, recv, start};

/// Bytes that the command may have in memory at any time.
const MOST: u64 = 100 << 20;
const PIECE: usize = 1 << 20;
const CHANNELS: u8 = 2;
const DEVICE: &str = "0000:00:02.0/vfio";

/// MiB of device state on the main channel, half of it before the end of RAM, and as many over the channels: 256, or as
/// the environment variable `MULTIFD_DEVICE_STATE` says.
fn pieces() -> Result<u32> {
    match std::env::var("MULTIFD_DEVICE_STATE") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{text:?}, wanted MiB")),
        Err(_) => Ok(256),
    }
}

#[test]
fn a_relay_passes_on_more_device_state_than_it_has_memory_for() -> Result<()> {
    let pieces = pieces()?;
    let folder = Folder::new()?;
    let there = folder.path("destination");
    let listener = UnixListener::bind(&there)?;
    let here = format!("unix:{}", folder.text("relay"));
    let to = format!("unix:{}", there.display());
    let mut relay = start(&["relay", "--json", "--quiet", "--listen", &here, "--to", &to])?;
    relay.wait_address()?;

    let path = folder.path("relay");
    let (main, most) = thread::scope(|scope| -> Result<_> {
        let connect = || UnixStream::connect(&path);
        let mut main = connect()?;
        let sending: Vec<_> = (0..CHANNELS)
            .map(|channel| {
                let connection = connect()?;
                Ok(scope.spawn(move || send_channel(connection, channel, pieces)))
            })
            .collect::<Result<_>>()?;
        let mut sending_end = main.try_clone()?;
        let sent = scope.spawn(move || send_main(&mut sending_end, pieces));
        let (mut taken, _) = listener.accept()?;
        let receiving: Vec<_> = (0..CHANNELS)
            .map(|_| {
                let (connection, _) = listener.accept()?;
                Ok(scope.spawn(move || receive_channel(connection)))
            })
            .collect::<Result<_>>()?;
        let mut received = BufReader::new(taken.try_clone()?);
        let got = read_main(&mut received, main_len(pieces))?;
        let most = highest_memory(relay.id())?;
        // SHUT, 0.
        taken.write_all(&[0, 1, 0, 4, 0, 0, 0, 0])?;
        let sent = joined(sent.join())?;
        ensure!(got == sent, "{got:x?}, wanted {sent:x?}");
        let mut shut = [0; 8];
        main.read_exact(&mut shut)?;
        ensure!(shut == [0, 1, 0, 4, 0, 0, 0, 0], "{shut:x?}");
        for channel in sending {
            joined(channel.join())?;
        }
        drop((main, taken));
        let mut numbers = Vec::new();
        for channel in receiving {
            numbers.extend(joined(channel.join())?);
        }
        numbers.sort_unstable();
        ensure!(
            numbers.into_iter().eq(0..pieces),
            "pieces over the channels"
        );
        Ok((got, most))
    })?;
    relay.finish()?.json(0)?;
    let (bytes, _) = main;
    let line = format!(
        "{pieces} MiB twice, {bytes} bytes on main: {} KiB",
        most >> 10
    );
    writeln!(std::io::stderr(), "{line}")?;
    ensure!(most <= MOST, "{line}");
    Ok(())
}

#[test]
fn a_folder_keeps_more_device_state_than_there_is_memory_for() -> Result<()> {
    let count = pieces()? / 2;
    let folder = Folder::new()?;
    let saved = folder.text("guest");
    let (receiving, _) = recv(
        &format!("unix:{}", folder.text("from")),
        &["--save", &saved],
    )?;
    let connect = || UnixStream::connect(folder.path("from"));
    let mut main = connect()?;
    let channels = (0..CHANNELS).map(|channel| send_channel(connect()?, channel, 0));
    channels.collect::<Result<()>>()?;
    let mut sent = Summed {
        out: &mut main,
        bytes: 0,
        sum: Hasher::new(),
    };
    sent.put(HEAD)?;
    let head = (sent.bytes, std::mem::take(&mut sent.sum));
    put_early(&mut sent, count)?;
    let early = (sent.bytes - head.0, sent.sum.clone().finalize());
    // All of it has been read but for what is in the socket.
    let most = highest_memory(receiving.id())?;
    ensure!(most <= MOST, "recv: {} KiB", most >> 10);
    sent.put(END)?;
    sent.put(b"\0\x06\0\0\0\0")?;
    let mut shut = [0; 8];
    main.read_exact(&mut shut)?;
    ensure!(shut == [0, 1, 0, 4, 0, 0, 0, 0], "{shut:x?}");
    receiving.finish()?.json(0)?;

    let listener = UnixListener::bind(folder.path("to"))?;
    let to = format!("unix:{}", folder.text("to"));
    let mut sending = start(&["send", "--load", &saved, "--to", &to, "--quiet", "--json"])?;
    let (mut taken, _) = listener.accept()?;
    // As it came, and three PINGs.
    let mut bytes = vec![0; HEAD.len() + 3 * 9];
    taken.read_exact(&mut bytes)?;
    let got = read_main(&mut taken.take(early.0), early.0)?;
    ensure!(got == early, "{got:x?}, wanted {early:x?}");
    // It waits for an answer.
    let most = highest_memory(sending.id())?;
    ensure!(most <= MOST, "send: {} KiB", most >> 10);
    sending.kill()?;
    Ok(())
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.map_err(|_| anyhow!("a thread panicked"))?
}

/// A piece that is like no other, and has in it what looks like the end of a section.
fn piece(number: u32) -> Vec<u8> {
    let [_, _, _, byte] = number.to_be_bytes();
    let text = [&number.to_be_bytes()[..], b"\x7e\0\0\0\x09\x02\0\0\0\x01"].concat();
    let mut data = text.clone();
    data.resize(PIECE - text.len(), byte);
    data.extend(text);
    data
}

/// Writes, and knows what was written: how many bytes, and their CRC-32.
struct Summed<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
    sum: Hasher,
}

impl Summed<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.sum.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }
}

const HEAD: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x04none\x08\0\x01\0\0\
    \x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x10\x04\x03ram\0\0\0\0\0\0\x10\0\
    \0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
/// The start of a VFIO device, which has tags in it, and nothing else.
const START: &[u8] = b"\x01\0\0\0\x09\x11\
    0000:00:02.0/vfio\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\xef\x10\0\x03\xff\xff\xff\xff\xef\x10\0\x01\x7e\0\0\0\x09";
const PART: &[u8] = b"\x02\0\0\0\x09\xff\xff\xff\xff\xef\x10\0\x04\0\0\0\0\0\x10\0\0";
const PART_END: &[u8] = b"\xff\xff\xff\xff\xef\x10\0\x01\x7e\0\0\0\x09";
/// The switchover, and the end of RAM.
const END: &[u8] =
    b"\x08\0\x0b\0\0\x03\0\0\0\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
/// The device's last section.
const FULL: &[u8] = b"\x04\0\0\0\x0a\x05large\0\0\0\0\0\0\0\x01";
const FULL_END: &[u8] = b"\x7e\0\0\0\x0a\0\x06\0\0\0\0";

fn main_len(pieces: u32) -> u64 {
    let fixed = [HEAD, START, END, FULL, FULL_END].map(<[u8]>::len);
    let part = PART.len() + PART_END.len();
    let early = pieces / 2;
    let total = fixed.iter().sum::<usize>() + part * early as usize + PIECE * pieces as usize;
    total as u64
}

/// Sends the main channel; answers how many bytes it has, and their CRC-32.
fn send_main(main: &mut UnixStream, pieces: u32) -> Result<(u64, u32)> {
    let mut main = Summed {
        out: main,
        bytes: 0,
        sum: Hasher::new(),
    };
    main.put(HEAD)?;
    let early = pieces / 2;
    put_early(&mut main, early)?;
    main.put(END)?;
    main.put(FULL)?;
    for number in early..pieces {
        main.put(&piece(number))?;
    }
    main.put(FULL_END)?;
    Ok((main.bytes, main.sum.finalize()))
}

/// What the device sends before the end of RAM: so many pieces.
fn put_early(main: &mut Summed<'_>, pieces: u32) -> Result<()> {
    main.put(START)?;
    for number in 0..pieces {
        main.put(PART)?;
        main.put(&piece(number))?;
        main.put(PART_END)?;
    }
    Ok(())
}

fn read_main(main: &mut impl Read, len: u64) -> Result<(u64, u32)> {
    let mut room = vec![0; PIECE];
    let (mut bytes, mut sum) = (0, Hasher::new());
    while bytes < len {
        let got = main.read(&mut room)?;
        ensure!(got > 0, "the main channel ends after {bytes} bytes");
        bytes += got as u64;
        sum.update(room.get(..got).context("more bytes than room")?);
    }
    Ok((bytes, sum.finalize()))
}

/// Sends a channel: two barriers, and every second piece between them.
fn send_channel(mut to: UnixStream, channel: u8, pieces: u32) -> Result<()> {
    let uuid = Uuid::default();
    to.write_all(&InitPacket { uuid, channel }.encode())?;
    let mut sync = RamHeaderBuffer::new(PageSize::X86);
    sync.set_sync(0);
    to.write_all(sync.as_bytes())?;
    for number in (u32::from(channel)..pieces).step_by(CHANNELS.into()) {
        let header = DeviceStateHeader {
            idstr: DEVICE.as_bytes(),
            instance_id: number,
            payload_len: u32::try_from(PIECE)?,
        };
        to.write_all(&header.encode()?)?;
        to.write_all(&piece(number))?;
    }
    Ok(to.write_all(sync.as_bytes())?)
}

/// Takes a channel; answers the numbers of the pieces that came there, whole.
fn receive_channel(from: UnixStream) -> Result<Vec<u32>> {
    let mut from = BufReader::new(from);
    from.read_exact(&mut [0; 64])?;
    let (mut numbers, mut room) = (Vec::new(), vec![0; PIECE]);
    loop {
        let mut header = [0; multifd_core::wire::DEVICE_STATE_HEADER_LEN];
        if from.read(header.split_at_mut(1).0)? == 0 {
            return Ok(numbers);
        }
        from.read_exact(header.split_at_mut(1).1)?;
        if header.get(11).is_none_or(|flags| flags & 0x40 == 0) {
            // SYNC: longer, and without a payload.
            let rest = multifd_core::wire::ram_header_len(PageSize::X86) - header.len();
            from.read_exact(&mut vec![0; rest])?;
            continue;
        }
        let header = DeviceStateHeader::decode(&header)?;
        ensure!(header.idstr == DEVICE.as_bytes());
        ensure!(usize::try_from(header.payload_len)? == PIECE);
        from.read_exact(&mut room)?;
        let number = header.instance_id;
        ensure!(room == piece(number), "piece {number} is another one");
        numbers.push(number);
    }
}

/// The most bytes that a process has had in memory.
fn highest_memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmHWM")?.parse::<u64>()? << 10)
}
