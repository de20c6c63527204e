//! A source at work: shown, recorded, ended by signals, reported.

use std::time::Duration;

use migration::source::GuestAfter;
use migration::{Connections, Report, Source, SourceFailure, channel_count};
use migration_params::Settings;
use multifd_core::transport::Transport;
use multifd_core::{MultifdMethods, PageSize};

use crate::args::MigrationArgs;
use crate::ends::interrupt::Interrupt;
use crate::net::connect;
use crate::net::uri::Uri;
use crate::show::clock::cpu_time;
use crate::show::progress::Progress;
use crate::show::report::{About, MigrationReport};
use crate::show::timeline::Recorder;

/// Whose migration it is.
pub(crate) struct Sending<'a> {
    pub(crate) to: &'a Uri,
    /// Names the progress shown.
    pub(crate) label: &'a str,
    pub(crate) args: &'a MigrationArgs,
    pub(crate) method: &'a dyn MultifdMethods,
    pub(crate) interrupt: &'a Interrupt,
    /// The processor time of this process before the source was made.
    pub(crate) cpu_start: Duration,
}

impl Sending<'_> {
    /// Migrates with `source`.
    pub(crate) fn run(
        &self,
        source: Source,
        migrate: impl FnOnce(Source) -> Result<Report, SourceFailure>,
    ) -> anyhow::Result<MigrationReport> {
        let handle = source.handle();
        let abort = source.abort_handle();
        self.interrupt.on_signal(move || abort.abort());
        let progress = match self.args.quiet {
            true => None,
            false => Some(Progress::source(handle.clone(), self.label)?),
        };
        let recorder = match self.args.timeline {
            true => Some(Recorder::source(handle.clone())?),
            false => None,
        };
        let result = migrate(source);
        drop(progress);
        let timeline = recorder.map(Recorder::finish).unwrap_or_default();
        let report = result.map_err(explain)?;
        let about = About {
            side: "source",
            address: self.to.to_string(),
            method: self.method,
            page_size: PageSize::X86,
            cpu_time: cpu_time().saturating_sub(self.cpu_start),
        };
        let mut report = MigrationReport::new(&report, about);
        report.ram.dirty_sync_count = Some(handle.info().ram.dirty_sync_count);
        report.timeline = timeline;
        Ok(report)
    }
}

/// Makes all connections to a destination, and waits for it to listen.
pub(crate) fn connect(
    to: &Uri,
    wait: Duration,
    settings: &Settings,
) -> anyhow::Result<Connections> {
    let main = connect::first(to, wait)?;
    let return_path: Option<Box<dyn Transport>> = if settings.capabilities.return_path {
        Some(Box::new(main.try_clone()?))
    } else {
        None
    };
    let mut channels: Vec<Box<dyn Transport>> = Vec::new();
    for id in channel_count(&settings.parameters).ids() {
        channels.push(Box::new(connect::channel(to, id.number())?));
    }
    Ok(Connections {
        main: Box::new(main),
        return_path,
        channels,
    })
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
