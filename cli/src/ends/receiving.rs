// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A destination at work: it accepts, is shown, recorded, and ended by signals.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use multifd_core::{Error, Fault, MultifdMethods, Place, Side};
use multifd_migration::{Destination, DestinationFailure, Report};

use crate::args::MigrationArgs;
use crate::ends::interrupt::Interrupt;
use crate::ends::reception::{Reception, Signs};
use crate::net::listen::Listener;
use crate::net::tls::ServerSide;
use crate::show::clock::cpu_time;
use crate::show::exit_code::ExitCode;
use crate::show::output;
use crate::show::progress::{Progress, Total};
use crate::show::report::{About, MigrationReport};
use crate::show::timeline::{Recorder, Sample};
use crate::show::whereabouts::Whereabouts;

/// Listens for the connections of one migration.
pub(crate) struct Receiving<'a> {
    reception: Reception<'a>,
    destination: &'a Destination,
    signs: Signs,
}

/// What it took.
pub(crate) struct Received {
    report: Report,
    /// Of the process, from the source's first connection on.
    cpu_time: Duration,
    timeline: Vec<Sample>,
}

impl Received {
    /// The report of a destination that listened at `address`.
    pub(crate) fn report(self, address: String, method: &dyn MultifdMethods) -> MigrationReport {
        let about = About {
            side: "destination",
            guest: Whereabouts::Arrived,
            address,
            method,
            cpu_time: self.cpu_time,
        };
        let mut report = MigrationReport::new(&self.report, about);
        report.timeline = self.timeline;
        report
    }
}

impl<'a> Receiving<'a> {
    /// Says that it listens. From now on a signal ends the migration.
    pub(crate) fn start(
        (listener, tls): (Listener, ServerSide),
        destination: &'a Destination,
        interrupt: &Interrupt,
        json: bool,
    ) -> Self {
        let signs = Signs::new(listener.waker());
        interrupt.on_signal({
            let (abort, signs) = (destination.abort_handle(), signs.clone());
            move || {
                if signs.is_whole() {
                    output::message(format_args!(
                        "multifd: too late to cancel, all of the guest is here: waiting for the source's word"
                    ));
                    return ExitCode::Kept;
                }
                abort.abort();
                signs.set_over();
                ExitCode::Interrupted
            }
        });
        listener.announce(json);
        Self {
            reception: Reception::new((listener, tls), destination, signs.clone()),
            destination,
            signs,
        }
    }

    /// What the host of the migration tells when the source has announced its memory.
    pub(crate) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    /// Accepts connections on this thread and migrates on another one, from the source's first connection
    /// on, for which it waits no longer than `wait`.
    pub(crate) fn run(
        mut self,
        args: &MigrationArgs,
        wait: Option<Duration>,
        total: &Total,
        migrate: impl FnOnce() -> Result<Report, DestinationFailure> + Send,
    ) -> anyhow::Result<Received> {
        self.reception.first(wait)?;
        let cpu_start = cpu_time();
        let recorder = match args.timeline {
            true => Some(Recorder::destination(self.destination.monitor())?),
            false => None,
        };
        let progress = if args.quiet {
            None
        } else {
            Some(Progress::start(
                self.destination.monitor(),
                total,
                "received",
            )?)
        };
        let result = self.serve(migrate);
        drop(progress);
        let cpu_time = cpu_time().saturating_sub(cpu_start);
        let timeline = recorder.map(Recorder::finish).unwrap_or_default();
        Ok(Received {
            report: result?,
            cpu_time,
            timeline,
        })
    }

    fn serve(
        mut self,
        migrate: impl FnOnce() -> Result<Report, DestinationFailure> + Send,
    ) -> Result<Report, DestinationFailure> {
        thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let result = migrate();
                self.signs.set_over();
                result
            });
            if let Err(error) = self.reception.rest() {
                let what = format!("cannot accept a connection: {error}");
                let error = Error::new(Fault::Caller, what).at(Place::on(Side::Destination));
                self.destination.abort_handle().fail(error);
            }
            drop(self.reception);
            runner.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}
