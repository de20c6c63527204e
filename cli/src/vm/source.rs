//! The hypervisor that a guest leaves.

use std::thread;
use std::time::Instant;

use anyhow::bail;
use hypervisor::{Machine, Memory};
use migration::SourceConfig;
use multifd_core::{Place, Side};

use super::{LOOK, STANDSTILL, open, summary};
use crate::args::VmArgs;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::report::cpu_time;
use crate::sending::{self, Sending};
use crate::uri::Uri;
use crate::{methods, settings};

pub(super) fn run(args: &VmArgs, to: &Uri) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let settings = settings::effective(&args.migration.set)?;
    let registry = methods::registry()?;
    settings.check_migrate(settings::TRANSPORT, &settings::host(&registry))?;
    let method = methods::open(&registry, &settings.parameters, &args.migration)?;
    let (file, len) = open(&args.ram)?;
    let mut machine = Machine::boot(&args.workload.machine(len), Memory::new(&file)?)?;
    machine.run();
    wait_busy(&machine)?;
    let connections = sending::connect(to, STANDSTILL, &settings)?;
    let sending = Sending {
        to,
        label: &args.label,
        args: &args.migration,
        method: &*method,
        interrupt: &interrupt,
        cpu_start: cpu_time(),
    };
    let config = SourceConfig::with_settings(&settings);
    let source = hypervisor::source(&machine, config, &method, connections)
        .map_err(|error| error.at(Place::on(Side::Source)))?;
    let mut report = sending.run(source, |source| source.migrate(&mut machine))?;
    report.guest = Some(summary(machine.report()?, 0));
    report.print(args.migration.json)?;
    Ok(ExitCode::Ok)
}

/// Waits until the guest writes.
fn wait_busy(machine: &Machine) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let guest = machine.report()?;
        if let Some(failure) = guest.failures.first() {
            bail!("the guest has failed at its start: {failure}");
        }
        if guest.written > 0 {
            return Ok(());
        }
        if start.elapsed() > STANDSTILL {
            bail!("the guest does nothing: {guest:?}");
        }
        thread::sleep(LOOK);
    }
}
