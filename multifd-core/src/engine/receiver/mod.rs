//! The receiving end of a migration: the pages of the channels fill guest memory.
//! May import the ground and `intake`.

mod config;

pub use config::ReceiverConfig;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{self as queue, select_biased};
use parking_lot::Mutex;

use crate::channel::{Counters, Landing, MigrationStats, Monitor, Target};
use crate::engine::barrier::Barrier;
use crate::engine::control::{AbortHandle, Control};
use crate::engine::intake::known_uuid::KnownUuid;
use crate::engine::intake::linger::{self, Linger};
use crate::engine::intake::thread::ReceiverThread;
use crate::engine::spawn::ThreadGroup;
use crate::error::{Error, Fault, Place, Side};
use crate::memory::{BlockIndex, GuestMemory};
use crate::method::MultifdMethods;
use crate::transport::Transport;
use crate::wire::Uuid;

/// Receives pages of guest memory over several channels at once.
///
/// The host accepts connections and gives them to [`Self::accept`], in whatever order they come;
/// each gets a thread that finds out which channel it is. The host's thread reads the main channel,
/// says what the memory is once that is announced, and meets the channels at each sync point.
///
/// After a failure the connections stay open until the receiver is [settled](Self::settle) or dropped:
/// the source is to hear of the failure on the main channel first.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    threads: ThreadGroup,
    main: queue::Receiver<Box<dyn Transport>>,
    accepted: AtomicUsize,
}

/// What the threads of a receiver share.
pub(crate) struct Shared {
    pub(crate) side: Side,
    pub(crate) config: ReceiverConfig,
    pub(crate) uuid: KnownUuid,
    pub(crate) method: Arc<dyn MultifdMethods>,
    pub(crate) control: Arc<Control>,
    pub(crate) barrier: Barrier,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) main: Mutex<Option<queue::Sender<Box<dyn Transport>>>>,
    pub(crate) landing: OnceLock<Landing>,
    pub(crate) linger: Linger,
}

impl Receiver {
    /// A receiver without connections or memory yet.
    pub fn new(config: ReceiverConfig, method: Arc<dyn MultifdMethods>) -> Self {
        let uuid = Some(config.uuid);
        Self::on(Side::Destination, config, uuid, method)
    }

    /// A receiver that calls itself `side`. Without a `uuid` it takes that of the first channel.
    pub(crate) fn on(
        side: Side,
        config: ReceiverConfig,
        uuid: Option<Uuid>,
        method: Arc<dyn MultifdMethods>,
    ) -> Self {
        log::info!("receiving {}: {}", method.name(), method.implementation());
        let (main_sender, main) = queue::bounded(1);
        let shared = Shared {
            side,
            uuid: KnownUuid::new(uuid),
            method,
            control: Control::new(),
            barrier: Barrier::new(Place::on(side), config.channels),
            counters: config.channels.ids().map(|_| Arc::default()).collect(),
            main: Mutex::new(Some(main_sender)),
            landing: OnceLock::new(),
            linger: Linger::default(),
            config,
        };
        Self {
            shared: Arc::new(shared),
            threads: ThreadGroup::default(),
            main,
            accepted: 0.into(),
        }
    }

    /// Takes a new connection: the main channel or a multifd channel, which its first bytes tell.
    /// Returns at once; what is wrong with the connection fails the migration.
    ///
    /// After a failure the connection is closed only when the source has closed it or this side
    /// [has settled](Self::settle), so that whoever accepts connections should do so until then; a main
    /// connection is closed as soon as it is known to be one.
    ///
    /// # Errors
    /// There are more connections than channels and the main one, or a thread cannot be started,
    /// both of which fail the migration; or the migration is over.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
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
            let error = Error::new(Fault::Peer, what).at(Place::on(shared.side));
            shared.control.fail(error.clone());
            refused = Some(error);
        }
        shared.control.watch(connection.interrupter());
        let thread = ReceiverThread {
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
    pub(crate) fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        let shared = &self.shared;
        let guard = self.threads.guard();
        let guard = guard.ok_or_else(|| shared.control.reason())?;
        let body = Box::new(move || {
            let _guard = guard;
            body();
        });
        shared.config.threads.spawn(name, body).map_err(|error| {
            let what = format!("cannot start a channel's thread: {error}");
            Error::new(Fault::Caller, what).at(Place::on(shared.side))
        })
    }

    /// Whether the main connection and all channels have been accepted.
    pub fn is_complete(&self) -> bool {
        self.accepted.load(Ordering::Relaxed) > self.shared.config.channels.count()
    }

    /// Waits for the main channel; its first four bytes, [`crate::wire::MAIN_MAGIC`], have been
    /// read. Answers it once.
    ///
    /// # Errors
    /// None came within `limit`, it was answered before, or the migration failed.
    pub fn wait_main(&self, limit: Duration) -> Result<Box<dyn Transport>, Error> {
        select_biased! {
            recv(self.shared.control.woken()) -> _ => Err(self.shared.control.reason()),
            recv(self.main) -> main => {
                main.map_err(|_| caller("the main channel was handed over already"))
            }
            default(limit) => {
                let what = format!("no main channel within {} s", limit.as_secs_f32());
                Err(Error::new(Fault::Connection, what).at(Place::on(self.shared.side)))
            }
        }
    }

    /// Waits until a channel has said the VM's UUID.
    pub(crate) fn wait_uuid(&self, limit: Duration) -> Result<Uuid, Error> {
        let shared = &self.shared;
        select_biased! {
            recv(shared.control.woken()) -> _ => Err(shared.control.reason()),
            recv(shared.uuid.known()) -> _ => {
                shared.uuid.value().ok_or_else(|| caller("a UUID that is known and not there"))
            }
            default(limit) => {
                let what = format!("no multifd channel within {} s", limit.as_secs_f32());
                Err(Error::new(Fault::Connection, what).at(Place::on(shared.side)))
            }
        }
    }

    /// Says what the guest memory is: the blocks that the main channel has announced. Pages that
    /// come before that are refused; a source sends none before its first SYNC.
    ///
    /// # Errors
    /// It was said before, the page size is not the receiver's, or the migration failed.
    pub fn attach(&self, memory: GuestMemory) -> Result<(), Error> {
        self.shared.control.check()?;
        let (got, want) = (memory.page_size(), self.shared.config.page_size);
        if got != want {
            return Err(caller(format!(
                "guest memory with pages of {got} bytes, wanted {want}"
            )));
        }
        let target = Target::new(memory, self.shared.config.memory_is_zeroed);
        self.land(Landing::Guest(target))
    }

    /// Says where pages go.
    pub(crate) fn land(&self, landing: Landing) -> Result<(), Error> {
        self.shared.control.check()?;
        let landed = self.shared.landing.set(landing);
        landed.map_err(|_| caller("guest memory was attached already"))
    }

    /// Meets all channels at a sync point: waits until each has got everything before its SYNC,
    /// then lets them go on.
    ///
    /// # Errors
    /// No channel has made progress within the configured limit, or the migration failed.
    pub fn sync(&self) -> Result<(), Error> {
        self.meet(&|| false)
    }

    /// As [`Self::sync`]. While `excused` the channels need make no progress.
    pub(crate) fn meet(&self, excused: &dyn Fn() -> bool) -> Result<(), Error> {
        let shared = &self.shared;
        let monitor = self.monitor();
        let seen = Cell::new(monitor.wire_bytes());
        let alive = || {
            let now = monitor.wire_bytes();
            seen.replace(now) != now || excused()
        };
        let limit = shared.config.sync_time_limit;
        shared
            .barrier
            .meet(&shared.control, limit, &alive)
            .inspect_err(|error| shared.control.fail(error.clone()))
    }

    /// Waits until the source has closed all channels, but for no longer than `limit`.
    pub(crate) fn wait_closed(&self, limit: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        shared
            .barrier
            .meet_end(&shared.control, limit)
            .inspect_err(|error| shared.control.fail(error.clone()))
    }

    /// Clears a page that the main channel says is zero.
    ///
    /// # Errors
    /// No memory is attached, it has no such page, or the migration failed.
    pub fn zero_page(&self, block: BlockIndex, offset: u64) -> Result<(), Error> {
        self.shared.control.check()?;
        let landing = self.shared.landing.get();
        let target = landing
            .and_then(Landing::guest)
            .ok_or_else(|| caller("no guest memory attached"))?;
        let page_size = target.memory.page_size();
        let page = target
            .memory
            .block(block)
            .and_then(|ram| ram.span(offset, page_size.bytes()));
        let page = page
            .filter(|_| page_size.is_aligned(offset))
            .ok_or_else(|| {
                let place = Place::on(Side::Destination).offset(offset);
                Error::new(Fault::Peer, "zero page outside of its block").at(place)
            })?;
        if target.received.mark(block, offset) || !target.zeroed {
            page.clear();
        }
        Ok(())
    }

    /// Ends the threads and closes the channels: nothing more is wanted. Answers what was received.
    /// No connection is accepted afterwards.
    ///
    /// # Errors
    /// The migration failed.
    pub fn finish(&self) -> Result<MigrationStats, Error> {
        self.shared.control.finish();
        self.close();
        self.shared.control.check()?;
        Ok(self.stats())
    }

    /// Fails the migration, unless it has failed already, and waits until the source has closed all of its
    /// connections, but for no longer than `limit`; then closes them. By now the source should have been told
    /// on the main channel, or have lost it.
    ///
    /// Takes the `main` connection to wait for it, too: what was sent last on a connection may not reach the
    /// peer if it is closed while bytes of the peer's are unread.
    pub fn settle(&self, main: Option<Box<dyn Transport>>, limit: Duration) {
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

    /// What has been received so far.
    pub fn stats(&self) -> MigrationStats {
        self.monitor().stats()
    }

    /// What has been received so far, to be asked from any thread.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.shared.counters.clone(), self.shared.config.page_size)
    }

    /// How many pages have arrived at least once.
    pub fn received_pages(&self) -> u64 {
        let landing = self.shared.landing.get();
        landing
            .and_then(Landing::guest)
            .map_or(0, |target| target.received.count())
    }

    /// What aborts this migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.shared.control.handle()
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.shared.control
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.control.fail(Error::aborted());
        self.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?}", self.config, self.control)
    }
}

/// The main one and 255 channels: no source has more.
const MOST_CONNECTIONS: usize = 256;

fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into()).at(Place::on(Side::Destination))
}
