// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM that a guest leaves.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use multifd_core::MethodOptions;
use multifd_core::memory::BlockIndex;
use multifd_core::transport::{SocketTransport, Transport};
use multifd_migration::stream::DeviceSection;
use multifd_migration::{
    Connections, DirtyBitmap, DirtyLog, HostError, Report, Source, SourceConfig, SourceFailure,
    SourceHost,
};
use multifd_tls::Client;

use crate::config::Config;
use crate::vm::{Machine, PAGE};
use crate::{HOST, Host, LIMIT};

/// Sends a guest to an address.
pub(crate) fn send(
    host: &Host,
    machine: &Arc<Machine>,
    vm: &Config,
    to: SocketAddr,
) -> Result<Result<Report, SourceFailure>> {
    let client = Client::from_dir(host.credentials.path(), HOST)?;
    let connect = || -> Result<Box<dyn Transport>> {
        let transport = SocketTransport::tcp(TcpStream::connect(to)?, LIMIT)?;
        Ok(Box::new(transport))
    };
    let mut main = client.connect(connect()?, LIMIT)?;
    vm.send(&mut *main)?;
    // On a channel its thread shakes hands, so that all of them do at once.
    let channel = |_| Ok(client.connect_later(connect()?, LIMIT));
    let channels = (0..vm.channels).map(channel).collect::<Result<_>>()?;
    let mut config = SourceConfig::default();
    config.threads = Arc::clone(&host.threads) as _;
    let method = host.registry.open(&vm.method, &MethodOptions::new())?;
    let connections = Connections::new(main, channels)?;
    let source = Source::new(config, machine.memory(), method, connections)?;
    Ok(source.run(&mut Leaving {
        machine: Arc::clone(machine),
        fetched: BTreeMap::new(),
    }))
}

/// A guest that leaves.
struct Leaving {
    machine: Arc<Machine>,
    /// What the machine's log has told, and the migration has not asked for yet.
    fetched: BTreeMap<usize, Vec<u64>>,
}

impl SourceHost for Leaving {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        self
    }

    fn pause(&mut self) -> Result<(), HostError> {
        self.machine.pause();
        Ok(())
    }

    fn resume(&mut self) {
        self.machine.resume();
    }

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        Ok(vec![DeviceSection {
            name: "vm".into(),
            instance: 0,
            version: 1,
            data: self.machine.writes().to_be_bytes().to_vec(),
        }])
    }
}

impl DirtyLog for Leaving {
    fn start(&mut self) -> Result<(), HostError> {
        self.machine.set_dirty_log(true);
        Ok(())
    }

    /// The machine tells of all blocks at once and forgets it, so what is of others is kept for their turn.
    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        for (address, len) in self.machine.take_dirty() {
            for address in (address..address + len).step_by(PAGE) {
                let page = self.machine.page_of(address);
                let (block, page) = page.ok_or("a write to what is no memory")?;
                self.fetched.entry(block.position()).or_default().push(page);
            }
        }
        for page in self.fetched.remove(&block.position()).unwrap_or_default() {
            dirty.mark(page, 1);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.machine.set_dirty_log(false);
    }
}
