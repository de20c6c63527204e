//! `multifd send`: the source.

use std::sync::Arc;

use migration::source::GuestAfter;
use migration::{Connections, Source, SourceConfig, SourceFailure, channel_count, method_options};
use migration_params::{Settings, ZeroPageDetection};
use multifd_core::transport::Transport;
use multifd_core::{GuestMemory, MultifdMethods, Place, Side};

use crate::args::SendArgs;
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::{About, MigrationReport, cpu_time};
use crate::saved::Saved;
use crate::timeline::Recorder;
use crate::{connect, methods, ram, settings};

pub(crate) fn run(args: &SendArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let saved = args.load.as_deref().map(Saved::open).transpose()?;
    let settings = effective_settings(args, saved.as_ref())?;
    let registry = methods::registry()?;
    settings.check_migrate(settings::TRANSPORT, &settings::host(&registry))?;
    let options = method_options(&settings.parameters);
    let method = registry.open(
        settings.parameters.multifd_compression.name(),
        &args.migration.accelerator.options(options),
    )?;
    methods::tell(&*method, args.migration.quiet);
    let memory = match &saved {
        Some(saved) => saved.memory()?,
        None => ram::source_memory(&args.ram)?,
    };
    let config = config(args, &settings, saved);
    let connections = connect(args, &settings)?;
    let report = migrate(args, config, memory, &method, connections, &interrupt)?;
    report.print(args.migration.json)?;
    Ok(ExitCode::Ok)
}

fn effective_settings(args: &SendArgs, saved: Option<&Saved>) -> anyhow::Result<Settings> {
    let mut settings = settings::effective(&args.migration.set)?;
    let chosen = |set: &String| set.trim_start().starts_with("zero-page-detection");
    if saved.is_some_and(Saved::is_of_an_old_machine) && !args.migration.set.iter().any(chosen) {
        settings.parameters.zero_page_detection = ZeroPageDetection::Legacy;
    }
    if let Some(limit) = args.max_bandwidth {
        settings.parameters.max_bandwidth = limit;
    }
    Ok(settings)
}

fn migrate(
    args: &SendArgs,
    config: SourceConfig,
    memory: GuestMemory,
    method: &Arc<dyn MultifdMethods>,
    connections: Connections,
    interrupt: &Interrupt,
) -> anyhow::Result<MigrationReport> {
    let page_size = memory.page_size();
    let cpu_start = cpu_time();
    let source = Source::new(config, memory, method, connections)
        .map_err(|error| error.at(Place::on(Side::Source)))?;
    let abort = source.abort_handle();
    interrupt.on_signal(move || abort.abort());
    let progress = match args.migration.quiet {
        true => None,
        false => Some(Progress::source(source.handle(), &args.label)?),
    };
    let recorder = match args.migration.timeline {
        true => Some(Recorder::source(source.handle())?),
        false => None,
    };
    let result = source.run();
    drop(progress);
    let timeline = recorder.map(Recorder::finish).unwrap_or_default();
    let report = result.map_err(explain)?;
    let about = About {
        side: "source",
        address: args.to.to_string(),
        method: &**method,
        page_size,
        cpu_time: cpu_time().saturating_sub(cpu_start),
    };
    let mut report = MigrationReport::new(&report, about);
    report.timeline = timeline;
    Ok(report)
}

/// Says where the guest is, unless it is here, as after most failures.
fn explain(failure: SourceFailure) -> anyhow::Error {
    let error = anyhow::Error::from(failure.error);
    match failure.guest {
        GuestAfter::Here => error,
        GuestAfter::InDoubt => {
            error.context("the destination may have the guest: look there before it runs anywhere")
        }
    }
}

fn connect(args: &SendArgs, settings: &Settings) -> anyhow::Result<Connections> {
    let main = connect::first(&args.to, args.wait)?;
    let return_path: Option<Box<dyn Transport>> = if settings.capabilities.return_path {
        Some(Box::new(main.try_clone()?))
    } else {
        None
    };
    let mut channels: Vec<Box<dyn Transport>> = Vec::new();
    for id in channel_count(&settings.parameters).ids() {
        channels.push(Box::new(connect::channel(&args.to, id.number())?));
    }
    Ok(Connections {
        main: Box::new(main),
        return_path,
        channels,
    })
}

fn config(args: &SendArgs, settings: &Settings, saved: Option<Saved>) -> SourceConfig {
    let mut config = SourceConfig::with_parameters(&settings.parameters);
    config.machine = args.machine.clone();
    config.sync_mode = args.sync.into();
    if let Some(saved) = saved {
        saved.configure(&mut config);
    }
    if let Some(uuid) = args.migration.uuid {
        config.uuid = uuid;
    }
    if let Some(limit) = args.migration.time_limit {
        config.confirm_time_limit = limit;
    }
    config
}
