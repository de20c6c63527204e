// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The system calls of a migration without compression, and nothing else: what no engine can do without.
//!
//! The source knows beforehand which pages are not zero. Nothing is looked for, queued, counted or checked, and no
//! channel waits for another.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use multifd_core::geometry::PACKET_BYTES;
use multifd_core::memory::{IoVec, IoVecMut, Span};
use multifd_core::transport::{SocketTransport, UNIX_SEND_BUFFER, recv_all, send_all};
use multifd_core::{PageSize, RamBlock};

use super::case::own_cpu_time;

/// What a side has taken.
pub(super) struct Taken {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) bytes: u64,
}

/// As long as the header of a packet with 4 KiB pages. It begins with where the pages are and how long they are together;
/// no length is the end.
const HEADER_LEN: usize = 1344;
type Header = [u8; HEADER_LEN];

/// Sends all pages that are not zero over so many channels, and waits until they are there.
pub(super) fn send(block: &RamBlock, socket: &Path, channels: usize) -> Result<Taken> {
    let packets = packets(block);
    let connections = (0..channels).map(|_| {
        let connection = SocketTransport::new(UnixStream::connect(socket)?)?;
        connection.set_send_buffer(UNIX_SEND_BUFFER)?;
        anyhow::Ok(connection)
    });
    let connections: Vec<_> = connections.collect::<Result<_>>()?;
    let (cpu, start) = (own_cpu_time()?, Instant::now());
    let bytes = thread::scope(|scope| {
        let threads = connections.into_iter().enumerate().map(|(first, mut to)| {
            let own = packets.iter().skip(first).step_by(channels);
            scope.spawn(move || send_channel(own, &mut to))
        });
        let threads: Vec<_> = threads.collect();
        let sent = threads.into_iter().map(|thread| thread.join().ok());
        sent.map(|sent| sent.context("a channel")?)
            .sum::<Result<u64>>()
    })?;
    Ok(Taken {
        wall: start.elapsed(),
        cpu: own_cpu_time()?.saturating_sub(cpu),
        bytes,
    })
}

/// Receives pages from so many channels.
pub(super) fn receive(block: &RamBlock, listener: &UnixListener, channels: usize) -> Result<Taken> {
    let connections = (0..channels).map(|_| Ok(SocketTransport::new(listener.accept()?.0)?));
    let connections: Vec<_> = connections.collect::<Result<_>>()?;
    let (cpu, start) = (own_cpu_time()?, Instant::now());
    thread::scope(|scope| {
        let threads = connections
            .into_iter()
            .map(|mut from| scope.spawn(move || receive_channel(block, &mut from)));
        let threads: Vec<_> = threads.collect();
        let received = threads.into_iter().map(|thread| thread.join().ok());
        for received in received {
            received.context("a channel")??;
        }
        anyhow::Ok(())
    })?;
    Ok(Taken {
        wall: start.elapsed(),
        cpu: own_cpu_time()?.saturating_sub(cpu),
        bytes: 0,
    })
}

/// Runs of pages that are not zero, no longer than a packet.
fn packets(block: &RamBlock) -> Vec<(u64, Span<'_>)> {
    let page = PageSize::X86;
    let spans = (0..block.len()).step_by(page.bytes()).filter_map(|offset| {
        let span = block.span(offset, page.bytes())?;
        (!span.is_zero()).then_some((offset, span))
    });
    let mut packets: Vec<(u64, Span<'_>)> = Vec::new();
    for (offset, span) in spans {
        let longer = packets.last_mut().and_then(|(_, packet)| {
            let longer = packet.merge(span).filter(|_| packet.len() < PACKET_BYTES)?;
            *packet = longer;
            Some(())
        });
        if longer.is_none() {
            packets.push((offset, span));
        }
    }
    packets
}

fn send_channel<'p, 'm: 'p>(
    packets: impl Iterator<Item = &'p (u64, Span<'m>)>,
    to: &mut SocketTransport,
) -> Result<u64> {
    let mut bytes = 0;
    for (offset, pages) in packets {
        let header = header(*offset, pages.len());
        send_all(to, &mut [IoVec::from(&header[..]), IoVec::from(*pages)])?;
        bytes += (header.len() + pages.len()) as u64;
    }
    send_all(to, &mut [IoVec::from(&header(0, 0)[..])])?;
    fill(to, IoVecMut::from(&mut [0][..]))?;
    Ok(bytes)
}

fn receive_channel(block: &RamBlock, from: &mut SocketTransport) -> Result<()> {
    loop {
        let mut header: Header = [0; HEADER_LEN];
        fill(from, IoVecMut::from(&mut header[..]))?;
        let (offset, len) = header.split_at(8);
        let offset = u64::from_be_bytes(offset.try_into()?);
        let len = u64::from_be_bytes(len.split_at(8).0.try_into()?);
        if len == 0 {
            return Ok(send_all(from, &mut [IoVec::from(&b"."[..])])?);
        }
        let pages = block.span(offset, usize::try_from(len)?);
        let pages = pages.context("pages outside of the block")?;
        fill(from, IoVecMut::from(pages))?;
    }
}

fn header(offset: u64, len: usize) -> Header {
    let mut header = [0; HEADER_LEN];
    let fields = offset
        .to_be_bytes()
        .into_iter()
        .chain((len as u64).to_be_bytes());
    header
        .iter_mut()
        .zip(fields)
        .for_each(|(to, from)| *to = from);
    header
}

fn fill(from: &mut SocketTransport, room: IoVecMut<'_>) -> Result<()> {
    ensure!(recv_all(from, &mut [room])?, "the other side is gone");
    Ok(())
}
