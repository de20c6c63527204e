//! `multifd recv`: the destination.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use migration::stream::{AnnouncedBlock, Configuration, EMPTY_TAIL, SectionInfo, SyncMode, Tail};
use migration::{
    Destination, DestinationConfig, DestinationHost, HostError, Report, channel_count,
    method_options,
};
use migration_params::Settings;
use multifd_core::{Error, Fault, GuestMemory, PageSize, Place, Side};

use crate::args::RecvArgs;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::listen::Listener;
use crate::progress::{Progress, Total};
use crate::reception::{Reception, Signs};
use crate::report::{About, DevicesReport, MigrationReport, cpu_time};
use crate::store::Store;
use crate::timeline::{Recorder, Sample};
use crate::{methods, output, settings};

pub(crate) fn run(args: &RecvArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let settings = settings::effective(&args.migration.set)?;
    let registry = methods::registry()?;
    settings.check_incoming(settings::TRANSPORT, &settings::host(&registry))?;
    let options = method_options(&settings.parameters);
    let method = registry.open(
        settings.parameters.multifd_compression.name(),
        &args.migration.accelerator.options(options),
    )?;
    methods::tell(&*method, args.migration.quiet);
    let mut store = Store::plan(args, &settings)?;
    let listener = Listener::bind(&args.from)?;
    let address = listener.uri().to_string();
    store.set_address(&address);
    let config = config(args, &settings, &store);
    let destination = Destination::new(config, Arc::clone(&method));
    let signs = Signs::new(listener.waker());
    interrupt.on_signal({
        let (abort, signs) = (destination.abort_handle(), signs.clone());
        move || {
            abort.abort();
            signs.set_over();
        }
    });
    announce(&address, args.migration.json)?;
    let mut host = Host {
        store,
        destination: &destination,
        signs: signs.clone(),
        total: Total::default(),
        devices: None,
    };
    let reception = Reception::new(listener, &destination, signs);
    let (report, cpu_time, timeline) = match migrate(args, &destination, reception, &mut host) {
        Ok(result) => result,
        Err(error) => {
            host.store.fail();
            return Err(error);
        }
    };
    host.store.keep();
    let about = About {
        side: "destination",
        address,
        method: &*method,
        page_size: PageSize::X86,
        cpu_time,
    };
    let mut report = MigrationReport::new(&report, about);
    report.devices = host.devices;
    report.timeline = timeline;
    if let Some(devices) = &report.devices {
        tell_devices(devices);
    }
    report.print(args.migration.json)?;
    Ok(ExitCode::Ok)
}

fn config(args: &RecvArgs, settings: &Settings, store: &Store) -> DestinationConfig {
    let mut config = DestinationConfig::default();
    config.machine = args.machine.clone();
    config.receiver.uuid = args.migration.uuid.unwrap_or_default();
    config.receiver.channels = channel_count(&settings.parameters);
    config.receiver.memory_is_zeroed = store.is_fresh();
    config.receiver.device_state = store.sink();
    if let Some(limit) = args.migration.time_limit {
        config.receiver.init_time_limit = limit;
        config.receiver.sync_time_limit = limit;
        config.main_time_limit = limit;
    }
    config
}

fn announce(address: &str, json: bool) -> anyhow::Result<()> {
    if json {
        output::message(format_args!("listening on {address}"));
    } else {
        output::line(format_args!("listening on {address}"))?;
    }
    Ok(())
}

/// Accepts connections on this thread and runs the migration on another one, from the first
/// connection on. Answers also the processor time that it took, and how it went over time.
fn migrate(
    args: &RecvArgs,
    destination: &Destination,
    mut reception: Reception<'_>,
    host: &mut Host<'_>,
) -> anyhow::Result<(Report, Duration, Vec<Sample>)> {
    let first = reception.first(args.wait)?;
    let cpu_start = cpu_time();
    let recorder = match args.migration.timeline {
        true => Some(Recorder::destination(destination.monitor())?),
        false => None,
    };
    let progress = if args.migration.quiet {
        None
    } else {
        Some(Progress::start(
            destination.monitor(),
            &host.total,
            "received",
        )?)
    };
    destination.accept(Box::new(first))?;
    let signs = host.signs.clone();
    let result = thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let result = destination.run(host);
            signs.set_over();
            result
        });
        if let Err(error) = reception.rest() {
            let what = format!("cannot accept a connection: {error}");
            let error = Error::new(Fault::Caller, what).at(Place::on(Side::Destination));
            destination.abort_handle().fail(error);
        }
        drop(reception);
        runner.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    drop(progress);
    let cpu_time = cpu_time().saturating_sub(cpu_start);
    let timeline = recorder.map(Recorder::finish).unwrap_or_default();
    Ok((result?, cpu_time, timeline))
}

/// What the migration asks of this command.
struct Host<'a> {
    store: Store,
    destination: &'a Destination,
    signs: Signs,
    total: Total,
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
        let memory = self.store.memory(configuration, blocks).map_err(flat)?;
        self.total.store(memory.total_bytes(), Ordering::Relaxed);
        Ok(memory)
    }

    fn sync_mode(&mut self, mode: SyncMode) {
        self.store.set_sync_mode(mode);
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        let pages = self.destination.received_pages();
        self.store.complete(devices, pages).map_err(flat)?;
        let names = |sections: &[SectionInfo]| {
            let names = sections.iter().map(|section| section.idstr.clone());
            names.collect()
        };
        self.devices = Some(DevicesReport {
            bytes: devices.bytes.len(),
            sections: devices.sections.as_deref().map(names),
            file: self.store.devices_file(),
        });
        Ok(())
    }
}

/// An error with its causes in one text.
fn flat(error: anyhow::Error) -> HostError {
    format!("{error:#}").into()
}

/// Says what became of the device state, if there is any.
fn tell_devices(devices: &DevicesReport) {
    let what = match &devices.sections {
        Some(sections) if sections.is_empty() => return,
        Some(sections) => format!(
            "{} device sections, {}",
            sections.len(),
            sections.join(", ")
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
