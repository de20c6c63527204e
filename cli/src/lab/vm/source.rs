// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The hypervisor that a guest leaves.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use migration_params::Settings;
use multifd_core::{MultifdMethods, Place, Side, StdThreads};
use multifd_demo_vmm::{Machine, Memory};
use multifd_migration::SourceConfig;
use multifd_migration::source::GuestAfter;

use super::guest::{LOOK, STANDSTILL, open, summary};
use crate::args::VmArgs;
use crate::ends::interrupt::Interrupt;
use crate::ends::processors::ChannelThreads;
use crate::ends::sending::{self, Sending};
use crate::ends::{methods, settings};
use crate::net::tls::ClientSide;
use crate::net::uri::Uri;
use crate::show::clock::cpu_time;
use crate::show::exit_code::ExitCode;
use crate::show::report::MigrationReport;
use crate::show::{output, tell};

pub(super) fn run(args: &VmArgs, to: &Uri) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let settings = settings::effective(&args.migration.settings(&[])?)?;
    let method = methods::outgoing(&settings, &args.migration)?;
    let (file, len) = open(&args.ram)?;
    let mut machine = Machine::boot(&args.workload.machine(len), Memory::new(&file)?)?;
    machine.run();
    wait_busy(&machine, 0)?;
    let mut guest = GuestAfter::Here;
    let migration = Migration {
        args,
        to,
        settings: &settings,
        method: &method,
        interrupt: &interrupt,
    };
    let result = migration.run(&mut machine, &mut guest);
    if result.is_err() && guest == GuestAfter::Here {
        tell_it_runs_on(&machine)?;
    }
    let mut report = result?;
    report.guest_check = Some(summary(machine.report()?, 0));
    tell::printed(report.print(args.migration.json));
    Ok(ExitCode::Ok)
}

struct Migration<'a> {
    args: &'a VmArgs,
    to: &'a Uri,
    settings: &'a Settings,
    method: &'a Arc<dyn MultifdMethods>,
    interrupt: &'a Interrupt,
}

impl Migration<'_> {
    /// Migrates the guest of `machine`; says in `guest` where it is after a failure.
    fn run(
        &self,
        machine: &mut Machine,
        guest: &mut GuestAfter,
    ) -> anyhow::Result<MigrationReport> {
        let (limits, settings) = (self.args.migration.limits(), self.settings);
        let tls = ClientSide::new(&settings.parameters, "--set", self.to, limits.init)?;
        let connections = sending::connect(self.to, Duration::ZERO, &limits, settings, &tls)?;
        let sending = Sending {
            to: self.to,
            label: &self.args.label,
            args: &self.args.migration,
            method: &**self.method,
            interrupt: self.interrupt,
            cpu_start: cpu_time(),
        };
        let mut config = SourceConfig::try_from(self.settings)?;
        config.limits = limits;
        config.adapt = self.args.adapt.config();
        config.threads = Arc::new(ChannelThreads::new(&self.args.adapt, StdThreads));
        let source = multifd_demo_vmm::source(machine, config, self.method, connections)
            .map_err(|error| error.at(Place::on(Side::Source)))?;
        sending.run(source, |source| {
            let result = source.run(machine);
            result.inspect_err(|failure| *guest = failure.guest)
        })
    }
}

/// The migration has failed, and the guest is still here.
fn tell_it_runs_on(machine: &Machine) -> anyhow::Result<()> {
    let written = machine.report()?.written;
    wait_busy(machine, written)?;
    output::message(format_args!("the guest runs on here, and writes"));
    Ok(())
}

/// Waits until the guest has written to more than `written` pages.
fn wait_busy(machine: &Machine, written: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let guest = machine.report()?;
        if let Some(failure) = guest.failures.first() {
            bail!("the guest has failed: {failure}");
        }
        if guest.written > written {
            return Ok(());
        }
        if start.elapsed() > STANDSTILL {
            bail!("the guest does nothing: {guest:?}");
        }
        thread::sleep(LOOK);
    }
}
