// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd recv`: the destination.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use migration_params::Settings;
use multifd_core::{GuestMemory, PageSize};
use multifd_migration::stream::{
    AnnouncedBlock, Configuration, EMPTY_TAIL, EarlyPart, SectionInfo, SyncMode, Tail,
};
use multifd_migration::{
    Destination, DestinationConfig, DestinationHost, HostError, Work, channel_count,
};

use crate::args::{RecvArgs, Switch};
use crate::disk::store::Store;
use crate::ends::interrupt::Interrupt;
use crate::ends::receiving::Receiving;
use crate::ends::reception::Signs;
use crate::ends::{methods, settings};
use crate::net::descriptors;
use crate::net::listen::Listener;
use crate::net::passed::Passed;
use crate::net::tls::ServerSide;
use crate::show::early::EarlyTotals;
use crate::show::exit_code::ExitCode;
use crate::show::progress::Total;
use crate::show::report::DevicesReport;
use crate::show::{output, tell};

pub(crate) fn run(args: &RecvArgs) -> anyhow::Result<ExitCode> {
    // Before there is a second thread.
    let passed = Passed::take()?;
    let interrupt = Interrupt::install()?;
    let mut settings = settings::receiving(&args.migration.settings(&[])?)?;
    args.tls.apply(&mut settings.parameters)?;
    let limits = args.migration.limits();
    let Switch(verify_peer) = args.tls.peer.tls_verify_peer;
    let tls = ServerSide::new(&settings.parameters, verify_peer, limits.init)?;
    descriptors::allow(1 + channel_count(&settings.parameters).count())?;
    let method = methods::incoming(&settings, &args.migration)?;
    let mut store = Store::plan(args, &settings)?;
    let own = args.listen.as_ref();
    let allowed = args.allow.at(&passed.addresses(own))?;
    let mut listener = Listener::open(passed, own, limits.destination)?;
    listener.take_only(allowed);
    listener.leave_room_for(0);
    let address = listener.place();
    store.set_address(&address);
    let config = config(args, &settings, &store);
    let destination = Destination::new(config, Arc::clone(&method));
    let entrance = (listener, tls);
    let receiving = Receiving::start(entrance, &destination, &interrupt, args.migration.json);
    let total = Total::default();
    let mut host = Host {
        store,
        destination: &destination,
        signs: receiving.signs(),
        total: Arc::clone(&total),
        page_size: args.migration.page_size,
        early: EarlyTotals::default(),
        devices: None,
    };
    let migrate = || destination.run(&mut host);
    let received = match receiving.run(&args.migration, args.wait, &total, migrate) {
        Ok(received) => received,
        Err(error) => {
            let error = host.store.explain(error);
            let error = host.store.kept(error);
            host.store.fail();
            return Err(error);
        }
    };
    host.store.keep();
    let mut report = received.report(address, &*method);
    report.devices = host.devices;
    if let Some(devices) = &report.devices {
        tell_early(&host.early, devices.early_file.as_deref());
        tell_devices(devices);
    }
    tell::printed(report.print(args.migration.json));
    Ok(ExitCode::Ok)
}

fn config(args: &RecvArgs, settings: &Settings, store: &Store) -> DestinationConfig {
    let mut config = DestinationConfig::default();
    config.machine = args.machine.clone();
    config.switchover_ack = settings.capabilities.switchover_ack;
    config.receiver.uuid = args.migration.uuid;
    config.receiver.page_size = args.migration.page_size;
    config.receiver.channels = channel_count(&settings.parameters);
    config.receiver.memory_is_zeroed = store.is_fresh();
    config.receiver.device_state = store.sink();
    config.receiver.limits = args.migration.limits();
    config
}

/// What the migration asks of this command.
struct Host<'a> {
    store: Store,
    destination: &'a Destination,
    signs: Signs,
    total: Total,
    page_size: Option<PageSize>,
    early: EarlyTotals,
    devices: Option<DevicesReport>,
}

impl DestinationHost for Host<'_> {
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        // All connections of the source are there: it announces nothing before.
        self.signs.set_announced();
        let page_size = configuration.page_size(self.page_size)?;
        let memory = self.store.memory(configuration, page_size, blocks);
        let memory = memory.map_err(flat)?;
        self.total.store(memory.total_bytes(), Ordering::Relaxed);
        Ok(memory)
    }

    fn ram_section_id(&mut self, id: u32) {
        self.store.set_ram_section_id(id);
    }

    fn sync_mode(&mut self, mode: SyncMode) {
        self.store.set_sync_mode(mode);
    }

    fn early_section(&mut self, part: EarlyPart<'_>) -> Result<(), HostError> {
        self.early.note(part);
        self.store.early_section(part).map_err(flat)
    }

    fn work(&self) -> Work {
        Work::WritingToDisk
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        let pages = self.destination.received_pages();
        self.clear_missing().map_err(flat)?;
        let uuid = self.destination.uuid().unwrap_or_default();
        self.store.complete(devices, uuid, pages).map_err(flat)?;
        self.signs.set_whole();
        let names = |sections: &[SectionInfo]| {
            let names = sections.iter().map(|section| section.idstr.clone());
            names.collect()
        };
        self.devices = Some(DevicesReport {
            bytes: devices.bytes.len(),
            sections: devices.sections.as_deref().map(names),
            file: self.store.devices_file(),
            early: self.early.report(),
            early_file: self.store.early_file().filter(|_| !self.early.is_empty()),
        });
        Ok(())
    }
}

impl Host<'_> {
    /// Pages that never came hold what was there before, unless they are made to hold nothing.
    fn clear_missing(&self) -> anyhow::Result<()> {
        if self.store.is_fresh() {
            return Ok(());
        }
        let mut bytes = 0;
        self.destination.for_each_missing(|block, range| {
            bytes += range.end - range.start;
            self.store.clear(block, range)
        })?;
        log::info!("{bytes} bytes of memory did not arrive and are zero");
        Ok(())
    }
}

/// An error with its causes in one text.
fn flat(error: anyhow::Error) -> HostError {
    format!("{error:#}").into()
}

/// Says what became of the state that came before the end of the memory, if there was any.
fn tell_early(early: &EarlyTotals, file: Option<&str>) {
    if early.is_empty() {
        return;
    }
    match file {
        Some(file) => output::message(format_args!(
            "state before the end of the memory, {early}: in {file}"
        )),
        None => output::message(format_args!(
            "state before the end of the memory, {early}: dropped, --save DIR keeps it"
        )),
    }
}

/// Says what became of the device state, if there is any.
fn tell_devices(devices: &DevicesReport) {
    let what = match &devices.sections {
        Some(sections) if sections.is_empty() => return,
        Some(sections) => format!(
            "{} device sections, {}",
            sections.len(),
            sections.join(", ").escape_debug()
        ),
        None if devices.bytes <= EMPTY_TAIL.len() => return,
        None => "device state without a description".into(),
    };
    let bytes = devices.bytes;
    match &devices.file {
        Some(file) => output::message(format_args!("{what}: {bytes} bytes in {file}")),
        None => output::message(format_args!(
            "{what}: {bytes} bytes dropped, --devices FILE or --save DIR keeps them"
        )),
    }
}
