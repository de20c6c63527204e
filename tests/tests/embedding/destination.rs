// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VMM that a guest comes to.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::{ChannelCount, GuestMemory, MethodOptions};
use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
use multifd_migration::{
    Destination, DestinationConfig, DestinationFailure, DestinationHost, HostError, Report,
    RunState,
};
use multifd_tls::{Server, ServerOptions};

use crate::config::Config;
use crate::vm::Machine;
use crate::{Host, LIMIT};

/// Takes a guest in. If the host is `broken` it cannot be started.
pub(crate) fn receive(
    host: &Host,
    listener: &TcpListener,
    broken: bool,
) -> Result<(Result<Report, DestinationFailure>, Arc<Machine>)> {
    let server = Server::from_dir(host.credentials.path(), &ServerOptions::default())?;
    let accept = || -> Result<Box<dyn Transport>> {
        let transport = SocketTransport::tcp(listener.accept()?.0, LIMIT)?;
        Ok(Box::new(transport))
    };
    // What the source says first makes the machine, and says how it is migrated.
    let mut main = server.accept(accept()?, LIMIT)?;
    let vm = Config::recv(&mut *main)?;
    let machine = Machine::new(&vm)?;
    let method = host.registry.open(&vm.method, &MethodOptions::new())?;
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(vm.channels).context("no channels")?;
    config.receiver.memory_is_zeroed = true;
    config.receiver.threads = Arc::clone(&host.threads) as _;
    let destination = Destination::new(config, method);
    Config::answer(&mut *main)?;
    destination.accept(main)?;
    for _ in 0..vm.channels {
        destination.accept(server.accept_later(accept()?, LIMIT))?;
    }
    let mut arriving = Arriving {
        machine: Arc::clone(&machine),
        broken,
    };
    Ok((destination.run(&mut arriving), machine))
}

/// A guest that comes.
struct Arriving {
    machine: Arc<Machine>,
    broken: bool,
}

impl DestinationHost for Arriving {
    fn memory(
        &mut self,
        _: &Configuration,
        _: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        Ok(self.machine.memory())
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        let mut sections = devices.sections.iter().flatten();
        let section = sections
            .find(|section| section.idstr == "vm")
            .ok_or("no state of the VM")?;
        let data = devices.data(section).first_chunk().ok_or("too short")?;
        let writes = u64::from_be_bytes(*data);
        self.machine.writes.store(writes, Ordering::Relaxed);
        Ok(())
    }

    fn start(&mut self, run_state: RunState) -> Result<(), HostError> {
        if self.broken {
            return Err("the disk is still locked".into());
        }
        if run_state == RunState::Running {
            self.machine.resume();
        }
        Ok(())
    }
}
