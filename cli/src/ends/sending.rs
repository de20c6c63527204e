// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source at work: shown, recorded, ended by signals, reported.

use std::time::Duration;

use migration_params::Settings;
use multifd_core::MultifdMethods;
use multifd_core::transport::Transport;
use multifd_migration::{
    Connections, Limits, Report, Source, SourceFailure, SourceHandle, channel_count,
};

use crate::args::MigrationArgs;
use crate::ends::interrupt::Interrupt;
use crate::net::connect;
use crate::net::tls::{ClientSide, handshake_failed};
use crate::net::uri::Uri;
use crate::show::clock::cpu_time;
use crate::show::exit_code::ExitCode;
use crate::show::output;
use crate::show::progress::Progress;
use crate::show::report::{About, MigrationReport};
use crate::show::timeline::Recorder;
use crate::show::whereabouts::Whereabouts;

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
        self.interrupt.on_signal({
            let handle = handle.clone();
            move || cancel(&handle)
        });
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
        let report = result?;
        let about = About {
            side: "source",
            guest: Whereabouts::Left,
            address: self.to.to_string(),
            method: self.method,
            cpu_time: cpu_time().saturating_sub(self.cpu_start),
        };
        let mut report = MigrationReport::new(&report, about);
        let info = handle.info();
        report.ram.dirty_sync_count = Some(info.ram.dirty_sync_count);
        report.rounds = info.more.rounds;
        report.timeline = timeline;
        Ok(report)
    }
}

/// Makes all connections to a destination, and waits for it to listen.
pub(crate) fn connect(
    to: &Uri,
    wait: Duration,
    limits: &Limits,
    settings: &Settings,
    tls: &ClientSide,
) -> anyhow::Result<Connections> {
    let main = connect::first(to, wait, limits.destination)?;
    let main = tls
        .main(main)
        .map_err(|error| handshake_failed(to, &error))?;
    let mut channels: Vec<Box<dyn Transport>> = Vec::new();
    for id in channel_count(&settings.parameters).ids() {
        let channel = connect::channel(to, id.number(), limits.destination)?;
        channels.push(tls.channel(channel));
    }
    Ok(match settings.capabilities.return_path {
        true => Connections::new(main, channels)?,
        false => Connections::one_way(main, channels),
    })
}

/// Cancels at a signal, unless the destination may have the guest already: then a second signal that ends the
/// process leaves it in doubt.
fn cancel(handle: &SourceHandle) -> ExitCode {
    if handle.cancel() {
        return ExitCode::Interrupted;
    }
    output::message(format_args!(
        "multifd: too late to cancel, the destination may have the guest: waiting for its word"
    ));
    ExitCode::InDoubt
}
