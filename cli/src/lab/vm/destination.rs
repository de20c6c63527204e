// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The hypervisor that a guest comes to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::bail;
use multifd_core::{Error, GuestMemory};
use multifd_demo_vmm::{GuestReport, Machine, Memory};
use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
use multifd_migration::{DestinationConfig, DestinationHost, HostError, RunState, channel_count};

use super::guest::{LOOK, STANDSTILL, open, summary};
use crate::args::VmArgs;
use crate::ends::interrupt::Interrupt;
use crate::ends::receiving::Receiving;
use crate::ends::reception::Signs;
use crate::ends::{methods, settings};
use crate::net::listen::Listener;
use crate::net::tls::ServerSide;
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::progress::Total;
use crate::show::tell;

pub(super) fn run(args: &VmArgs, from: &Uri) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let settings = settings::effective(&args.migration.settings(&[])?)?;
    let method = methods::incoming(&settings, &args.migration)?;
    let (file, len) = open(&args.ram)?;
    let mut machine = Machine::incoming(&args.workload.machine(len), Memory::incoming(&file)?)?;
    let mut config = DestinationConfig::default();
    config.receiver.channels = channel_count(&settings.parameters);
    let limits = args.migration.limits();
    let tls = ServerSide::new(&settings.parameters, true, limits.init)?;
    config.receiver.limits = limits.clone();
    let destination = multifd_demo_vmm::destination(&machine, config, &method);
    let listener = Listener::bind(from, limits.destination)?;
    let address = listener.place();
    let entrance = (listener, tls);
    let receiving = Receiving::start(entrance, &destination, &interrupt, args.migration.json);
    let total = Total::default();
    let mut host = Host {
        machine: &mut machine,
        signs: receiving.signs(),
        total: Arc::clone(&total),
        arrived: GuestReport::default(),
    };
    let migrate = || destination.run(&mut host);
    let received = receiving.run(&args.migration, Some(STANDSTILL), &total, migrate)?;
    let arrived = host.arrived;
    let guest = look_at_all(&machine, &arrived, &interrupt)?;
    let mut report = received.report(address, &*method);
    report.guest_check = Some(summary(guest, arrived.written));
    tell::printed(report.print(args.migration.json));
    Ok(ExitCode::Ok)
}

/// Lets the guest look at each page that it writes to, and write more; then stops it.
fn look_at_all(
    machine: &Machine,
    arrived: &GuestReport,
    interrupt: &Interrupt,
) -> anyhow::Result<GuestReport> {
    let want = arrived.checked + machine.working_set();
    machine.check_memory();
    let (mut start, mut last) = (Instant::now(), GuestReport::default());
    loop {
        let guest = machine.report()?;
        if !guest.failures.is_empty() {
            return Ok(guest);
        }
        if guest.checked >= want && guest.written > arrived.written {
            machine.stop()?;
            return Ok(machine.report()?);
        }
        if interrupt.is_interrupted() {
            return Err(Error::aborted().into());
        }
        if guest != last {
            (start, last) = (Instant::now(), guest);
        } else if start.elapsed() > STANDSTILL {
            bail!("the guest makes no progress at the destination: {guest:?}");
        }
        thread::sleep(LOOK);
    }
}

/// The machine, and who wants to know when its memory is announced.
struct Host<'a> {
    machine: &'a mut Machine,
    signs: Signs,
    total: Total,
    /// What the guest had done when it came.
    arrived: GuestReport,
}

impl DestinationHost for Host<'_> {
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        self.signs.set_announced();
        let memory = self.machine.memory(configuration, blocks)?;
        self.total.store(memory.total_bytes(), Ordering::Relaxed);
        Ok(memory)
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        self.machine.complete(devices)?;
        self.arrived = self.machine.report()?;
        Ok(())
    }

    fn start(&mut self, run_state: RunState) -> Result<(), HostError> {
        self.machine.start(run_state)
    }
}
