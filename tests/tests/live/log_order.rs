// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A log of several blocks is called in the order that is promised, and no more once a call has failed.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use multifd_core::memory::{BlockIndex, Mapping};
use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::DeviceSection;
use multifd_migration::{
    Connections, DirtyBitmap, DirtyLog, HostError, Report, Source, SourceConfig, SourceFailure,
    SourceHost,
};
use multifd_tests::live::Order;

use super::method;

/// Of the blocks: less than a chunk, several of them, and one page.
const PAGES: [usize; 3] = [100, 9000, 1];

#[test]
fn every_migration_keeps_to_it() -> Result<()> {
    let mut host = Host::new(&memory()?);
    for migrations in 1..=2 {
        migrate(&mut host)?.map_err(|failure| failure.error)?;
        ensure!(host.order.is_stopped());
        // Three while the guest runs at least, and the last.
        let fetches = host.order.fetches;
        ensure!(fetches >= 4 * migrations, "{fetches} fetches");
        host.writes = WRITES;
    }
    Ok(())
}

#[test]
fn the_call_after_one_that_fails_is_the_last() -> Result<()> {
    let mut failed = 0;
    loop {
        let mut host = Host::new(&memory()?);
        host.calls_left = Some(failed);
        match migrate(&mut host)? {
            Ok(_) => break,
            Err(failure) => {
                let error = failure.to_string();
                ensure!(error.contains("no log any more"), "{error}");
                ensure!(host.calls_left == Some(0) && host.order.is_stopped());
            }
        }
        failed += 1;
    }
    // A start, and of each fetch of three blocks all calls.
    ensure!(failed > 1 + 4 * 4, "{failed} calls may fail");
    Ok(())
}

/// A guest that writes a few times, and its log.
struct Host {
    order: Order,
    /// How many fetches still find a write.
    writes: usize,
    /// How many calls of the log still work, if not all.
    calls_left: Option<usize>,
}

const WRITES: usize = 2;

impl Host {
    fn new(memory: &GuestMemory) -> Self {
        Self {
            order: Order::new(memory),
            writes: WRITES,
            calls_left: None,
        }
    }

    fn call(&mut self) -> Result<(), HostError> {
        let Some(left) = &mut self.calls_left else {
            return Ok(());
        };
        *left = left.checked_sub(1).ok_or("no log any more")?;
        Ok(())
    }
}

impl SourceHost for Host {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        self
    }

    fn pause(&mut self) -> Result<(), HostError> {
        self.order.pause();
        Ok(())
    }

    fn resume(&mut self) {}

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        Ok(Vec::new())
    }
}

impl DirtyLog for Host {
    fn start(&mut self) -> Result<(), HostError> {
        self.call()?;
        self.order.start()
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        self.order.fetch()?;
        self.call()
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        self.order.harvest(block, dirty)?;
        if block.position() == 1 && self.writes > 0 {
            self.writes -= 1;
            // More than the guest could be paused for.
            dirty.mark(5, 8500);
        }
        self.call()
    }

    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        let cleared = self.order.clear(block, dirty, from)?;
        self.call()?;
        Ok(cleared)
    }

    fn stop(&mut self) {
        self.order.stop();
    }
}

/// Migrates to nobody: without a return path all is well once it has been sent.
fn migrate(host: &mut Host) -> Result<Result<Report, SourceFailure>> {
    let channels = vec![to_nobody()?, to_nobody()?];
    let connections = Connections::one_way(to_nobody()?, channels);
    let mut config = SourceConfig::default();
    config.tuning.downtime_limit = std::time::Duration::ZERO;
    let source = Source::new(config, memory()?, method("none")?, connections)?;
    Ok(source.run(host))
}

fn to_nobody() -> Result<Box<dyn Transport>> {
    let (ours, mut theirs) = UnixStream::pair()?;
    // It ends with the connection.
    thread::spawn(move || io::copy(&mut theirs, &mut io::sink()));
    Ok(Box::new(SocketTransport::new(ours)?))
}

fn memory() -> Result<GuestMemory> {
    let mut blocks = Vec::new();
    for (pages, name) in PAGES.into_iter().zip(["a", "b", "c"]) {
        let name = BlockName::new(name).context("a name")?;
        let block = Arc::new(Mapping::anonymous(pages << 12)?);
        blocks.push(RamBlock::new(name, block)?);
    }
    Ok(GuestMemory::new(PageSize::X86, blocks)?)
}
