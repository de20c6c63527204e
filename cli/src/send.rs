// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd send`: the source.

use std::path::PathBuf;
use std::sync::Arc;

use migration_params::{Settings, ZeroPageDetection};
use multifd_core::wire::Uuid;
use multifd_core::{GuestMemory, PageSize, Place, Side, StdThreads};
use multifd_migration::{Source, SourceConfig, channel_count};

use crate::args::SendArgs;
use crate::disk::saved::Saved;
use crate::disk::{fault, ram, unreleased};
use crate::ends::interrupt::Interrupt;
use crate::ends::processors::ChannelThreads;
use crate::ends::sending::{self, Sending};
use crate::ends::{methods, settings};
use crate::net::descriptors;
use crate::net::tls::ClientSide;
use crate::show::clock::cpu_time;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::tell;

pub(crate) fn run(args: &SendArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let files = args.ram.iter().map(|arg| arg.path.as_path());
    for path in files.chain(args.load.as_deref()) {
        unreleased::refuse("source", path)?;
    }
    let page_size = args.migration.page_size.unwrap_or_default();
    if args.load.is_some() && args.migration.page_size.is_some() {
        let what = "--page-size is not for --load: the guest's is in the folder";
        return Err(Failure::usage(what).into());
    }
    let saved = args.load.as_deref().map(Saved::open).transpose()?;
    let settings = effective_settings(args, saved.as_ref())?;
    descriptors::allow(1 + channel_count(&settings.parameters).count())?;
    let method = methods::outgoing(&settings, &args.migration)?;
    let limits = args.migration.limits();
    let tls = ClientSide::new(&settings.parameters, "--set", &args.to, limits.init)?;
    let memory = match &saved {
        Some(saved) => checked_memory(saved)?,
        None => ram::source_memory(&args.ram, page_size)?,
    };
    let config = config(args, &settings, saved);
    let connections = sending::connect(&args.to, args.wait, &limits, &settings, &tls)?;
    let sending = Sending {
        to: &args.to,
        label: &args.label,
        args: &args.migration,
        method: &*method,
        interrupt: &interrupt,
        cpu_start: cpu_time(),
    };
    let source = Source::new(config, memory, Arc::clone(&method), connections)
        .map_err(|error| error.at(Place::on(Side::Source)))?;
    let report = sending
        .run(source, Source::run_stopped)
        .map_err(|error| fault::in_file(error, |block| file_of(args, block)))?;
    tell::printed(report.print(args.migration.json));
    Ok(ExitCode::Ok)
}

/// Before anything is sent: a guest that is not what was kept must not run anywhere.
fn checked_memory(saved: &Saved) -> anyhow::Result<GuestMemory> {
    log::info!("comparing the checksums of the memory");
    if !saved.verify()? {
        log::info!("there are blocks without a checksum");
    }
    saved.memory()
}

/// The file of a block, or the folder that has it.
fn file_of(args: &SendArgs, block: &str) -> Option<PathBuf> {
    let mut files = args.ram.iter();
    let file = files.find(|arg| arg.name.as_str() == block);
    file.map(|arg| arg.path.clone()).or(args.load.clone())
}

fn effective_settings(args: &SendArgs, saved: Option<&Saved>) -> anyhow::Result<Settings> {
    let limit = args.max_bandwidth.map(|limit| limit.0.to_string());
    let limit = ("--max-bandwidth", "max-bandwidth", limit);
    let mut settings = settings::effective(&args.migration.settings(&[limit])?)?;
    let chosen = |set: &String| set.trim_start().starts_with("zero-page-detection");
    if saved.is_some_and(Saved::is_of_an_old_machine) && !args.migration.set.iter().any(chosen) {
        settings.parameters.zero_page_detection = ZeroPageDetection::Legacy;
    }
    args.tls.apply(&mut settings.parameters)?;
    Ok(settings)
}

fn config(args: &SendArgs, settings: &Settings, saved: Option<Saved>) -> SourceConfig {
    let mut config = SourceConfig::with_parameters(&settings.parameters);
    config.machine = args.machine.clone();
    config.sync_mode = args.sync.into();
    // The usual size goes without saying, as with x86.
    let named = args
        .migration
        .page_size
        .filter(|size| *size != PageSize::X86);
    config.page_bits = named.map(|size| size.bytes().trailing_zeros());
    if let Some(saved) = saved {
        saved.configure(&mut config);
    }
    if let Some(uuid) = args.migration.uuid {
        config.uuid = uuid;
        // A relay then knows at once whose main connection it is. QEMU takes a UUID of zeros for none.
        config.validate_uuid = uuid != Uuid::default();
    }
    config.limits = args.migration.limits();
    config.adapt = args.adapt.config();
    config.threads = Arc::new(ChannelThreads::new(&args.adapt, StdThreads));
    config
}
