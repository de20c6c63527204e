// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A whole channel of a receiver.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use multifd_core::memory::Mapping;
use multifd_core::transport::send_all;
use multifd_core::wire::{
    BlockName, DeviceStateHeader, InitPacket, MAIN_MAGIC, MethodId, PacketFlags, PageOffsets,
    RamHeaderBuffer, Uuid,
};
use multifd_core::{
    ChannelCount, GuestMemory, MethodFactory, MethodOptions, PageSize, RamBlock, Receiver,
    ReceiverConfig, Spawn, ThreadKind,
};
use parking_lot::Mutex;

use super::Target;
use crate::conformance::recorded::Folder;
use crate::network::{self, Link};

/// All bytes of one connection: an initial packet and what follows it, until it is closed.
pub(super) const CHANNEL: Target = Target {
    name: "channel",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let ended = receive(bytes, Arc::clone(&threads) as _);
        threads.join();
        ended.unwrap_or(false)
    },
    seeds: || {
        let recorded = Folder::new("none-qemu-10.0").channel(0)?;
        let first = recorded.get(..RECORDED).context("a recorded channel")?;
        Ok(vec![packets()?, first.to_vec()])
    },
};

const PAGE: usize = 4096;
/// The guest of the recorded migrations.
const PAGES: usize = 1024;
/// A SYNC, and the first pages of the next packet.
const RECORDED: usize = 64 + 2 * 1344 + 3 * PAGE;

/// Answers whether the connection ended where it may.
fn receive(bytes: &[u8], threads: Arc<dyn Spawn>) -> Result<bool> {
    let link = Link::default().capacity(bytes.len());
    let (mut source, destination, _) = network::pair(link, Link::default());
    send_all(&mut source, &mut [bytes.into()])?;
    drop(source);

    let mut config = ReceiverConfig::default();
    config.channels = ChannelCount::new(1).context("one channel")?;
    config.memory_is_zeroed = true;
    config.threads = threads;
    config.device_state = Some(Arc::new(|state| {
        assert!(!state.data.is_empty());
        Ok(())
    }));
    let method = multifd_none::NoneFactory.open(&MethodOptions::new())?;
    let limit = Duration::from_secs(30);
    let receiver = Receiver::new(config, method);
    receiver.attach(memory()?)?;
    receiver.accept(Box::new(destination))?;
    if bytes.starts_with(&MAIN) {
        // Nothing will come to a SYNC, and it takes a minute to be sure of that.
        assert!(receiver.wait_main(limit).is_ok(), "no main channel");
        return Ok(false);
    }
    if !is_channel(bytes) {
        // Nothing comes of it, and it does no harm.
        while receiver.strangers().count == 0 {
            thread::yield_now();
        }
        receiver.finish()?;
        return Ok(false);
    }
    let mut syncs = 0;
    while receiver.sync().is_ok() {
        syncs += 1;
    }
    let total = receiver.stats().total();
    assert!(total.wire_bytes <= bytes.len() as u64);
    assert!(syncs <= total.packets);
    assert!(receiver.received_pages() <= total.normal_pages + total.zero_pages);
    let error = receiver.finish().err().context("no error")?;
    Ok(error
        .to_string()
        .contains("closed the connection before its next SYNC"))
}

/// Whether a connection shows that it is a channel.
pub(super) fn is_channel(bytes: &[u8]) -> bool {
    let init = bytes.first_chunk().map(InitPacket::decode);
    matches!(init, Some(Ok(_)))
}

/// How a main connection begins.
pub(super) const MAIN: [u8; 4] = MAIN_MAGIC.to_be_bytes();

/// Threads that are waited for until the system has let go of them, so that a search for leaks finds
/// none of them halfway.
#[derive(Default)]
pub(super) struct Joined(Mutex<Vec<JoinHandle<()>>>);

impl Joined {
    pub(super) fn join(&self) {
        for thread in std::mem::take(&mut *self.0.lock()) {
            assert!(thread.join().is_ok(), "a thread panicked");
        }
    }
}

impl Spawn for Joined {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let thread = thread::Builder::new()
            .name(thread.to_string())
            .spawn(body)?;
        self.0.lock().push(thread);
        Ok(())
    }
}

fn memory() -> Result<GuestMemory> {
    let block = |name, pages| -> Result<RamBlock> {
        let name = BlockName::new(name).context("name")?;
        let region = Arc::new(Mapping::anonymous(pages * PAGE)?);
        Ok(RamBlock::new(name, region)?)
    };
    let blocks = vec![block("ram", PAGES)?, block("rom", 1)?];
    Ok(GuestMemory::new(PageSize::X86, blocks)?)
}

/// One packet of each kind, three of them SYNC.
fn packets() -> Result<Vec<u8>> {
    let init = InitPacket {
        uuid: Uuid::default(),
        channel: 0,
    };
    let mut bytes = init.encode().to_vec();
    let mut header = RamHeaderBuffer::new(PageSize::X86);
    header.set_sync(0);
    let sync = header.as_bytes().to_vec();
    bytes.extend_from_slice(&sync);
    let ram = BlockName::new("ram").context("name")?;
    let rom = BlockName::new("rom").context("name")?;
    let none = PacketFlags::pages(MethodId::NONE);
    let pages = PageOffsets {
        normal: &[0x1000, 0x2000],
        zero: &[0],
    };
    header.set_pages(none, 1, &ram, pages, 0x2000)?;
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&[0x11; 2 * PAGE]);
    let state = DeviceStateHeader {
        idstr: b"vfio",
        instance_id: 0,
        payload_len: 5,
    };
    bytes.extend_from_slice(&state.encode()?);
    bytes.extend_from_slice(b"state");
    // As old senders do: SYNC on a packet with pages.
    let pages = PageOffsets {
        normal: &[],
        zero: &[0],
    };
    header.set_pages(PacketFlags::SYNC, 2, &rom, pages, 0)?;
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&sync);
    Ok(bytes)
}
