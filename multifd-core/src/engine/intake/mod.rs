//! Connections that are accepted, and how they meet: what a receiver and a relay have in common.
//! May import the ground.

mod linger;
mod shared;
mod thread;

pub(super) use shared::{INIT_TIME_LIMIT, IntakeConfig, SYNC_TIME_LIMIT};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{self as queue, select_biased};

use super::control::{AbortHandle, Control};
use super::spawn::ThreadGroup;
use crate::channel::{MigrationStats, Monitor, PageTarget};
use crate::error::{Error, Fault, Place};
use crate::method::MultifdMethods;
use crate::transport::Transport;
use crate::wire::Uuid;
use shared::Shared;
use thread::IntakeThread;

/// Takes a source's connections, each with a thread that finds out what it is, and meets the channels.
pub(super) struct Intake<T: PageTarget> {
    shared: Arc<Shared<T>>,
    threads: ThreadGroup,
    main: queue::Receiver<Box<dyn Transport>>,
    accepted: AtomicUsize,
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
            accepted: 0.into(),
        }
    }

    /// Takes a new connection; returns at once.
    ///
    /// # Errors
    /// There are more connections than channels and the main one, or a thread cannot be started,
    /// both of which fail the migration; or the migration is over.
    pub(super) fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        let shared = &self.shared;
        let channels = shared.config.channels.count();
        let mut refused = shared.control.is_over().then(|| shared.control.reason());
        if let Some(reason) = &refused
            && !self.may_linger()
        {
            return Err(reason.clone());
        }
        if self.accepted.fetch_add(1, Ordering::Relaxed) > channels && refused.is_none() {
            let what = format!(
                "one connection more than the main one and {channels} channels: \
                 set multifd-channels to the same number on both sides"
            );
            let error = Error::new(Fault::Peer, what).at(Place::on(shared.config.side));
            shared.control.fail(error.clone());
            refused = Some(error);
        }
        shared.control.watch(connection.interrupter());
        let thread = IntakeThread {
            shared: Arc::clone(shared),
        };
        let body = Box::new(move || thread.run(connection));
        self.spawn("multifd-recv".into(), body)
            .inspect_err(|error| {
                self.accepted.fetch_sub(1, Ordering::Relaxed);
                shared.control.fail(error.clone());
            })?;
        refused.map_or(Ok(()), Err)
    }

    /// Whether a connection that comes after the end is kept for a while.
    fn may_linger(&self) -> bool {
        let shared = &self.shared;
        shared.control.error().is_some()
            && !shared.linger.is_over()
            && self.accepted.load(Ordering::Relaxed) < MOST_CONNECTIONS
    }

    /// Starts a thread that is waited for at the end.
    pub(super) fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        let shared = &self.shared;
        let guard = self.threads.guard();
        let guard = guard.ok_or_else(|| shared.control.reason())?;
        let body = Box::new(move || {
            let _guard = guard;
            body();
        });
        shared.config.threads.spawn(name, body).map_err(|error| {
            let what = format!("cannot start a channel's thread: {error}");
            Error::new(Fault::Caller, what).at(Place::on(shared.config.side))
        })
    }

    /// Whether the main connection and all channels have been accepted.
    pub(super) fn is_complete(&self) -> bool {
        self.accepted.load(Ordering::Relaxed) > self.shared.config.channels.count()
    }

    /// Waits for the main channel; its first four bytes, [`crate::wire::MAIN_MAGIC`], have been
    /// read. Answers it once.
    ///
    /// # Errors
    /// None came within `limit`, it was answered before, or the migration failed.
    pub(super) fn wait_main(&self, limit: Duration) -> Result<Box<dyn Transport>, Error> {
        select_biased! {
            recv(self.shared.control.woken()) -> _ => Err(self.shared.control.reason()),
            recv(self.main) -> main => {
                main.map_err(|_| self.caller("the main channel was handed over already"))
            }
            default(limit) => {
                let what = format!("no main channel within {} s", limit.as_secs_f32());
                Err(Error::new(Fault::Connection, what).at(Place::on(self.shared.config.side)))
            }
        }
    }

    /// Waits until a channel has said the VM's UUID.
    pub(super) fn wait_uuid(&self, limit: Duration) -> Result<Uuid, Error> {
        let shared = &self.shared;
        select_biased! {
            recv(shared.control.woken()) -> _ => Err(shared.control.reason()),
            recv(shared.uuid.known()) -> _ => {
                shared.uuid.value().ok_or_else(|| self.caller("a UUID that is known and not there"))
            }
            default(limit) => {
                let what = format!("no multifd channel within {} s", limit.as_secs_f32());
                Err(Error::new(Fault::Connection, what).at(Place::on(shared.config.side)))
            }
        }
    }

    /// Where the pages go.
    pub(super) fn target(&self) -> &T {
        &self.shared.target
    }

    /// Meets all channels at a sync point: waits until each has got everything before its SYNC,
    /// then lets them go on. While `excused` they need make no progress.
    ///
    /// # Errors
    /// No channel has made progress within the configured limit, or the migration failed.
    pub(super) fn meet(&self, excused: &dyn Fn() -> bool) -> Result<(), Error> {
        let shared = &self.shared;
        let monitor = self.monitor();
        let limit = shared.config.sync_time_limit;
        shared
            .barrier
            .meet(&shared.control, limit, &|| monitor.wire_bytes(), excused)
            .inspect_err(|error| shared.control.fail(error.clone()))
    }

    /// Waits until the source has closed all channels, but for no longer than `limit`.
    pub(super) fn wait_closed(&self, limit: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        shared
            .barrier
            .meet_end(&shared.control, limit)
            .inspect_err(|error| shared.control.fail(error.clone()))
    }

    /// Ends the threads and closes the channels: nothing more is wanted. Answers what was received.
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
            // Without a thread it is closed.
            let _ = self.spawn(
                "multifd-main".into(),
                Box::new(move || linger::drain(&mut *main)),
            );
        }
        self.threads.wait_idle(limit);
        self.close();
    }

    fn close(&self) {
        self.shared.linger.end();
        self.threads.join();
    }

    /// What has been received so far, to be asked from any thread.
    pub(super) fn monitor(&self) -> Monitor {
        Monitor::new(self.shared.counters.clone(), self.shared.config.page_size)
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

/// The main one and 255 channels: no source has more.
const MOST_CONNECTIONS: usize = 256;
