// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The live migration, embedded. `docs/embedding.md` walks through this file.

use std::sync::Arc;

use multifd_core::{GuestMemory, MultifdMethods};
use multifd_migration::source::SourceEvent;
use multifd_migration::stream::{AnnouncedBlock, Configuration, DeviceSection, Tail};
use multifd_migration::{
    Connections, Destination, DestinationConfig, DestinationFailure, DestinationHost, DirtyLog,
    HostError, Report, RunState, Source, SourceConfig, SourceHost,
};

use crate::devices::{PACE_STATE, SERIAL_STATE};
use crate::{Error, Machine};

/// What migrates a machine's guest away: [`Source::run`] does it, and [`Source::handle`] shows and
/// steers it from other threads. After an answer of `Ok` the guest is paused here for ever.
///
/// # Errors
/// See [`Source::new`].
pub fn source(
    machine: &Machine,
    mut config: SourceConfig,
    method: &Arc<dyn MultifdMethods>,
    connections: Connections,
) -> Result<Source, multifd_core::Error> {
    config.machine = machine.name();
    Source::new(
        config,
        machine.guest_memory(),
        Arc::clone(method),
        connections,
    )
}

/// What takes a guest in. Connections are [accepted](Destination::accept) by it.
pub fn destination(
    machine: &Machine,
    mut config: DestinationConfig,
    method: &Arc<dyn MultifdMethods>,
) -> Destination {
    config.machine = Some(machine.name());
    Destination::new(config, Arc::clone(method))
}

/// Takes a guest in, and lets it run, unless it was paused when it left.
///
/// # Errors
/// Why the migration failed, and what is here of the guest. It must not run here.
pub fn receive(
    machine: &mut Machine,
    destination: &Destination,
) -> Result<Report, DestinationFailure> {
    destination.run(machine)
}

impl SourceHost for Machine {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        &mut self.log
    }

    fn run_state(&mut self) -> RunState {
        match self.vcpus.is_running() {
            true => RunState::Running,
            false => RunState::Paused,
        }
    }

    fn pause(&mut self) -> Result<(), HostError> {
        Ok(self.vcpus.pause()?)
    }

    fn resume(&mut self) {
        self.vcpus.resume();
    }

    fn throttle(&mut self, percent: u8) {
        self.vcpus.throttle(percent);
    }

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        let mut devices = Vec::new();
        for (instance, vcpu) in (0..).zip(self.vcpus.each()) {
            devices.push(section(VCPU_STATE, instance, vcpu.save()?));
        }
        devices.push(section(SERIAL_STATE, 0, self.ports.save_serial()));
        devices.push(section(PACE_STATE, 0, self.ports.save_pace()));
        Ok(devices)
    }

    fn event(&mut self, event: &SourceEvent) {
        log::debug!("{event:?}");
    }
}

impl DestinationHost for Machine {
    fn memory(
        &mut self,
        _: &Configuration,
        _: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        Ok(self.guest_memory())
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        check_known(devices, self.vcpus.count())?;
        for (instance, mut vcpu) in (0..).zip(self.vcpus.each()) {
            vcpu.load(state(devices, VCPU_STATE, instance)?)?;
        }
        self.ports.load_serial(state(devices, SERIAL_STATE, 0)?)?;
        self.ports.load_pace(state(devices, PACE_STATE, 0)?)?;
        Ok(())
    }

    fn start(&mut self, run_state: RunState) -> Result<(), HostError> {
        if run_state == RunState::Running {
            self.run();
        }
        Ok(())
    }
}

/// A device that this machine does not have, or a vCPU too many, would be lost in silence.
fn check_known(devices: &Tail, vcpus: usize) -> Result<(), Error> {
    let sections = devices.sections.as_deref();
    let sections = sections
        .ok_or_else(|| Error::Config("the source has sent no description of its devices".into()))?;
    let known = [
        VCPU_STATE.0,
        SERIAL_STATE.0,
        PACE_STATE.0,
        RunState::SECTION,
    ];
    let unknown = sections
        .iter()
        .find(|section| !known.contains(&section.idstr.as_str()));
    if let Some(section) = unknown {
        return Err(Error::State {
            device: format!("{} {}", section.idstr.escape_debug(), section.instance),
            what: "this machine has no such device".into(),
        });
    }
    let got = sections
        .iter()
        .filter(|section| section.idstr == VCPU_STATE.0);
    match got.count() {
        got if got == vcpus => Ok(()),
        got => Err(Error::Config(format!(
            "the source's guest has {got} vCPUs, this machine {vcpus}"
        ))),
    }
}

fn section((name, version): (&str, u32), instance: u32, data: Vec<u8>) -> DeviceSection {
    DeviceSection {
        name: name.into(),
        instance,
        version,
        data,
    }
}

/// The state of one device, if it came and has the layout that this machine knows.
fn state<'a>(
    devices: &'a Tail,
    (name, version): (&str, u32),
    instance: u32,
) -> Result<&'a [u8], Error> {
    let wrong = |what: String| Error::State {
        device: format!("{name} {instance}"),
        what,
    };
    let mut sections = devices.sections.iter().flatten();
    let section = sections
        .find(|section| section.idstr == name && section.instance == instance)
        .ok_or_else(|| wrong("the source has sent no state of it".into()))?;
    if section.version != version {
        let got = section.version;
        return Err(wrong(format!(
            "its state is of version {got}, wanted {version}"
        )));
    }
    Ok(devices.data(section))
}

/// Name and layout of a vCPU's state. The two kinds are told apart by the machine's name.
const VCPU_STATE: (&str, u32) = ("vcpu", 1);
