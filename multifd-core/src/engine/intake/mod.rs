// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that are accepted, and how they meet: what a receiver and a relay have in common.
//! May import the ground.

mod arrivals;
mod candidates;
mod known;
mod linger;
mod shared;
mod thread;

pub use arrivals::Strangers;
pub(super) use shared::IntakeConfig;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{self as queue, select_biased};

use super::barrier::Watch;
use super::control::{AbortHandle, Control};
use super::spawn::ThreadGroup;
use crate::channel::{MigrationStats, Monitor, PageTarget, RoundPages};
use crate::error::{Error, Fault, Place};
use crate::geometry::PageSize;
use crate::method::{MultifdMethods, ThreadKind};
use crate::transport::Transport;
use crate::wire::Uuid;
use arrivals::Seat;
use candidates::MOST_CANDIDATES;
use shared::Shared;
use thread::IntakeThread;

/// Takes a source's connections, each with a thread that finds out what it is, and meets the channels.
pub(super) struct Intake<T: PageTarget> {
    shared: Arc<Shared<T>>,
    threads: ThreadGroup,
    main: queue::Receiver<Box<dyn Transport>>,
}

impl<T: PageTarget> Intake<T> {
    /// An intake without connections. `method` is the one that the source uses.
    pub(super) fn new(config: IntakeConfig, method: Arc<dyn MultifdMethods>, target: T) -> Self {
        log::info!("receiving {}: {}", method.name(), method.implementation());
        let (main_sender, main) = queue::bounded(1);
        Self {
            shared: Arc::new(Shared::new(config, method, target, main_sender)),
            threads: ThreadGroup::default(),
            main,
        }
    }

    /// Takes a new connection; returns at once.
    ///
    /// # Errors
    /// A thread cannot be started, which fails the migration; or the migration is over.
    pub(super) fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        let shared = &self.shared;
        let over = shared.control.is_over().then(|| shared.control.reason());
        let seat = match &over {
            None => shared.arrivals.seat(&*connection),
            Some(reason) => Some(self.seat_to_linger().ok_or_else(|| reason.clone())?),
        };
        let Some(seat) = seat else {
            let what = format!("{MOST_CANDIDATES} others had not identified themselves");
            shared.arrivals.refuse(what);
            return Ok(());
        };
        shared.control.watch(connection.interrupter());
        let thread = IntakeThread {
            shared: Arc::clone(shared),
        };
        let body = Box::new(move || thread.run(connection, seat));
        self.spawn(ThreadKind::Accepted, body)
            .inspect_err(|error| shared.control.fail(error.clone()))?;
        over.map_or(Ok(()), Err)
    }

    /// A place for a connection that comes after the end, if it is kept for a while.
    fn seat_to_linger(&self) -> Option<Seat> {
        let shared = &self.shared;
        let lingers = shared.control.error().is_some() && !shared.linger.is_over();
        lingers.then(|| shared.arrivals.seat_to_linger()).flatten()
    }

    /// Starts a thread that is waited for at the end.
    pub(super) fn spawn(
        &self,
        thread: ThreadKind,
        body: Box<dyn FnOnce() + Send>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        let guard = self.threads.guard();
        let guard = guard.ok_or_else(|| shared.control.reason())?;
        let body = Box::new(move || {
            let _guard = guard;
            body();
        });
        shared.config.threads.spawn(thread, body).map_err(|error| {
            let what = format!("cannot start a channel's thread: {error}");
            Error::new(Fault::Caller, what).at(Place::on(shared.config.side))
        })
    }

    /// Whether the main connection and all channels are known.
    pub(super) fn is_complete(&self) -> bool {
        let shared = &self.shared;
        let channels = shared.config.channels.count();
        shared.main.lock().is_none() && shared.barrier.places_taken() == channels
    }

    /// Connections that were closed because they were not the source's.
    pub(super) fn strangers(&self) -> Strangers {
        self.shared.arrivals.strangers()
    }

    /// Waits until a connection of the source's is known, main or channel, but for no longer than `wait`;
    /// returns since when.
    ///
    /// # Errors
    /// None came in time, which fails the migration; or it failed.
    pub(super) fn wait_source(&self, wait: Option<Duration>) -> Result<Instant, Error> {
        let shared = &self.shared;
        let deadline = wait.map_or_else(queue::never, |wait| after(Instant::now(), wait));
        select_biased! {
            recv(shared.control.woken()) -> _ => Err(shared.control.reason()),
            recv(shared.arrivals.known()) -> _ => {
                let first = shared.arrivals.first();
                first.ok_or_else(|| self.caller("a connection that is known and not there"))
            }
            recv(deadline) -> _ => {
                let error = self.missing("no source connected within", wait.unwrap_or_default());
                shared.control.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Waits for the main channel, until `limit` after the first connection of the source's; its first
    /// four bytes, [`crate::wire::MAIN_MAGIC`], have been read. Returns it once.
    ///
    /// # Errors
    /// None came in time, it was answered before, or the migration failed.
    pub(super) fn wait_main(&self, limit: Duration) -> Result<Box<dyn Transport>, Error> {
        let deadline = after(self.wait_source(None)?, limit);
        select_biased! {
            recv(self.shared.control.woken()) -> _ => Err(self.shared.control.reason()),
            recv(self.main) -> main => {
                main.map_err(|_| self.caller("the main channel was handed over already"))
            }
            recv(deadline) -> _ => {
                Err(self.missing("channels, but no main connection within", limit))
            }
        }
    }

    /// Waits until a channel has said the VM's UUID, until `limit` after the first connection of the
    /// source's.
    pub(super) fn wait_uuid(&self, limit: Duration) -> Result<Uuid, Error> {
        let shared = &self.shared;
        let deadline = after(self.wait_source(None)?, limit);
        select_biased! {
            recv(shared.control.woken()) -> _ => Err(shared.control.reason()),
            recv(shared.uuid.known()) -> _ => {
                shared.uuid.value().ok_or_else(|| self.caller("a UUID that is known and not there"))
            }
            recv(deadline) -> _ => {
                let what = "the source may have multifd off: a main connection, but no multifd channel within";
                Err(self.missing(what, limit))
            }
        }
    }

    /// The VM's UUID, if it is known.
    pub(super) fn uuid(&self) -> Option<Uuid> {
        self.shared.uuid.value()
    }

    /// Says the size of the guest's pages: the channels wait for that. Returns the size that it is from now on.
    pub(super) fn set_page_size(&self, page_size: PageSize) -> PageSize {
        self.shared.page_size.or(page_size)
    }

    /// The size of the guest's pages, if it is known.
    pub(super) fn page_size(&self) -> Option<PageSize> {
        self.shared.page_size.value()
    }

    /// The error for connections that have not come.
    fn missing(&self, what: &str, limit: Duration) -> Error {
        let (seconds, strangers) = (limit.as_secs_f32(), self.strangers());
        let what = format!("{what} {seconds} s{strangers}");
        Error::new(Fault::Connection, what).at(Place::on(self.shared.config.side))
    }

    /// Where the pages go.
    pub(super) fn target(&self) -> &T {
        &self.shared.target
    }

    /// Meets all channels at a sync point: waits until each has got everything before its SYNC,
    /// then lets them go on. While `excused` they need make no progress; the wait is over when the source
    /// `is_gone`. An error says why they may be `held`.
    ///
    /// # Errors
    /// No channel has made progress within the configured limit, or the migration failed.
    pub(super) fn meet(
        &self,
        excused: &dyn Fn() -> bool,
        is_gone: &dyn Fn() -> bool,
        held: &dyn Fn() -> String,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        let monitor = self.monitor();
        let watch = Watch {
            limit: shared.config.limits.sync,
            moved: &|| monitor.moved_bytes(),
            excused,
            is_gone,
            note: &|| self.strangers().to_string(),
            held,
            met: &|| shared.target.barrier(),
        };
        shared
            .barrier
            .meet(&shared.control, &watch)
            .inspect_err(|error| shared.control.fail(error.clone()))
    }

    /// The last barrier is over: no more pages may come.
    ///
    /// # Errors
    /// Some have come behind it, which fails the migration, or it failed.
    pub(super) fn end_pages(&self, round: &RoundPages) -> Result<(), Error> {
        self.shared.control.check()?;
        let place = Place::on(self.shared.config.side);
        round
            .end()
            .map_err(|error| error.at(place))
            .inspect_err(|error| self.shared.control.fail(error.clone()))
    }

    /// Waits until the source has closed all channels, but for no longer than `limit`.
    pub(super) fn wait_closed(&self, limit: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        shared
            .barrier
            .meet_end(&shared.control, limit)
            .inspect_err(|error| shared.control.fail(error.clone()))
    }

    /// Ends the threads and closes the channels: nothing more is wanted. Returns what was received.
    /// No connection is accepted afterwards.
    ///
    /// # Errors
    /// The migration failed.
    pub(super) fn finish(&self) -> Result<MigrationStats, Error> {
        self.shared.control.finish();
        self.close();
        self.shared.control.check()?;
        Ok(self.stats())
    }

    /// Fails the migration, unless it has failed already, and waits until the source has closed all of its
    /// connections, `main` included, but for no longer than `limit`; then closes them.
    pub(super) fn settle(&self, main: Option<Box<dyn Transport>>, limit: Duration) {
        let shared = &self.shared;
        shared.control.fail(Error::aborted());
        // One that was not asked for in time.
        drop(self.main.try_recv());
        if let Some(mut main) = main
            && shared.linger.admit(&mut *main)
        {
            let threads = Arc::clone(&shared.config.threads);
            // Without a thread it is closed.
            let _ = self.spawn(
                ThreadKind::Drain,
                Box::new(move || {
                    // Refused, it closes the connection.
                    if threads.ready(ThreadKind::Drain).is_ok() {
                        linger::drain(&mut *main);
                    }
                }),
            );
        }
        self.threads.wait_idle(limit);
        self.close();
    }

    fn close(&self) {
        self.shared.linger.end();
        self.threads.join(self.shared.config.limits.threads);
    }

    /// What has been received so far, to be asked from any thread.
    pub(super) fn monitor(&self) -> Monitor {
        Monitor::new(self.shared.counters.clone(), self.shared.page_size.cell())
    }

    /// What has been received so far.
    pub(super) fn stats(&self) -> MigrationStats {
        self.monitor().stats()
    }

    /// What aborts this migration from another thread.
    pub(super) fn abort_handle(&self) -> AbortHandle {
        self.shared.control.handle()
    }

    pub(super) fn control(&self) -> &Arc<Control> {
        &self.shared.control
    }

    pub(super) fn config(&self) -> &IntakeConfig {
        &self.shared.config
    }

    /// A mistake of the host's.
    pub(super) fn caller(&self, what: impl Into<String>) -> Error {
        Error::new(Fault::Caller, what.into()).at(Place::on(self.shared.config.side))
    }
}

impl<T: PageTarget> Drop for Intake<T> {
    fn drop(&mut self) {
        self.shared.control.fail(Error::aborted());
        self.close();
    }
}

impl<T: PageTarget> std::fmt::Debug for Intake<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let config = &self.shared.config;
        let (side, channels) = (config.side, config.channels);
        write!(f, "{side}, {channels} channels, {:?}", self.shared.control)
    }
}

/// Has a message at `limit` after `start`; never if no clock reaches that.
fn after(start: Instant, limit: Duration) -> queue::Receiver<Instant> {
    start
        .checked_add(limit)
        .map_or_else(queue::never, queue::at)
}
