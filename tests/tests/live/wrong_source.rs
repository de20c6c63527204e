// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination takes of no source: memory may be lost, or written to that is not the guest's.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use multifd_core::memory::{BlockIndex, Mapping};
use multifd_core::transport::SocketTransport;
use multifd_core::wire::BlockName;
use multifd_core::{ChannelCount, Fault, GuestMemory, PageSize, RamBlock, Sender, SenderConfig};
use multifd_migration::stream::{AnnouncedBlock, Configuration, Outgoing, SyncMode, Writer};
use multifd_migration::{Destination, DestinationConfig, DestinationFailure, GuestHere, Report};
use multifd_tests::host::FileHost;
use multifd_tests::network::Watchdog;

use super::method;

const PAGE: u64 = 4096;
/// Of each block.
const PAGES: u64 = 16;

#[test]
fn one_that_ends_memory_without_a_barrier() -> Result<()> {
    for has_barrier in [true, false] {
        let received = receive(&memory(0x55)?, &memory(0)?, |main, sender| {
            sender.queue_run(nth(sender, 0)?, 0, PAGES)?;
            sender.sync()?;
            let mut section = main.ram_end()?;
            if has_barrier {
                section.sync()?;
            }
            section.finish()?;
            Ok(())
        })?;
        match received {
            Ok(_) => ensure!(has_barrier, "pages may be missing"),
            Err(failure) => refused(&failure, "END section has no barrier")?,
        }
    }
    Ok(())
}

#[test]
fn one_that_sends_a_block_that_it_has_not_announced() -> Result<()> {
    for block in 0..2 {
        let there = memory(0)?;
        let received = receive(&memory(0x55)?, &there, |main, sender| {
            sender.queue_run(nth(sender, block)?, 0, PAGES)?;
            sender.sync()?;
            let mut section = main.ram_end()?;
            section.sync()?;
            section.finish()?;
            Ok(())
        })?;
        match received {
            Ok(_) => ensure!(block == 0, "it was not announced"),
            Err(failure) => refused(&failure, "unknown RAM block")?,
        }
        let written = |at: usize| {
            let span = there.blocks().get(at).and_then(|block| block.span(0, 4096));
            span.is_some_and(|span| !span.is_zero())
        };
        ensure!([written(0), written(1)] == [block == 0, false]);
    }
    Ok(())
}

/// Migrates from a source that announces the first of two blocks, and then does what `send` says.
fn receive(
    here: &GuestMemory,
    there: &GuestMemory,
    send: impl FnOnce(&mut Outgoing, &mut Sender) -> Result<()>,
) -> Result<Result<Report, DestinationFailure>> {
    let _watchdog = Watchdog::start();
    let method = method("none")?;
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(1).context("one is some")?;
    let destination = Destination::new(config, Arc::clone(&method));
    let connect = || -> Result<SocketTransport> {
        let (ours, theirs) = UnixStream::pair()?;
        destination.accept(Box::new(SocketTransport::new(theirs)?))?;
        Ok(SocketTransport::new(ours)?)
    };
    let main = Writer::new(Box::new(connect()?));
    let channels = vec![Box::new(connect()?) as _];
    let mut sender = Sender::start(&SenderConfig::default(), here.clone(), &method, channels)?;
    let mut main = Outgoing::new(main, PageSize::X86, SyncMode::PerRound);
    let announced = here.blocks().iter().take(1).map(|block| AnnouncedBlock {
        name: block.name().clone(),
        used_length: block.len(),
    });
    thread::scope(|scope| {
        let received = scope.spawn(|| destination.run(&mut FileHost::new(there.clone())));
        main.configuration(&Configuration::default())?;
        let mut section = main.ram_start(announced.collect())?;
        section.sync()?;
        section.finish()?;
        main.flush()?;
        sender.sync()?;
        send(&mut main, &mut sender)?;
        // It may have refused the guest by now.
        let _ = main.tail(&[]).and_then(|()| main.flush());
        let _ = sender.finish();
        drop(main);
        received
            .join()
            .map_err(|_| anyhow!("the destination panicked"))
    })
}

fn refused(failure: &DestinationFailure, why: &str) -> Result<()> {
    ensure!(failure.guest == GuestHere::NotHere, "{failure:?}");
    ensure!(failure.error.fault() == Fault::Peer, "{failure:?}");
    ensure!(failure.to_string().contains(why), "{failure}");
    Ok(())
}

fn nth(sender: &Sender, number: usize) -> Result<BlockIndex> {
    let mut blocks = sender.memory().indexed();
    Ok(blocks.nth(number).context("there are two")?.0)
}

/// Two blocks, full of one byte.
fn memory(byte: u8) -> Result<GuestMemory> {
    let blocks = ["ram", "other"].map(|name| -> Result<RamBlock> {
        let len = usize::try_from(PAGES * PAGE)?;
        let name = BlockName::new(name).context("a name")?;
        let block = RamBlock::new(name, Arc::new(Mapping::anonymous(len)?))?;
        let span = block.span(0, len).context("all of it")?;
        span.copy_from(&vec![byte; len]);
        Ok(block)
    });
    let blocks = blocks.into_iter().collect::<Result<_>>()?;
    Ok(GuestMemory::new(PageSize::X86, blocks)?)
}
