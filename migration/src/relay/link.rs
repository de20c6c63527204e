//! What the two directions of the main connection know of each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Shared by the thread that passes on the main stream and the one that passes on the return path.
#[derive(Debug)]
pub(super) struct Link {
    start: Instant,
    return_path: AtomicBool,
    ram_complete: AtomicBool,
    shut: AtomicBool,
    has_guest: AtomicBool,
    /// When the source was told that the destination has the guest.
    confirmed: Mutex<Option<Instant>>,
    /// Since when a PING is not answered.
    ping: Mutex<Option<Instant>>,
    main_bytes: AtomicU64,
    main_busy: AtomicBool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            return_path: AtomicBool::new(false),
            ram_complete: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            has_guest: AtomicBool::new(false),
            confirmed: Mutex::new(None),
            ping: Mutex::new(None),
            main_bytes: AtomicU64::new(0),
            main_busy: AtomicBool::new(false),
        }
    }

    /// When the migration began.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// The source has opened the return path: it expects a last message.
    pub(super) fn set_return_path(&self) {
        self.return_path.store(true, Ordering::Release);
    }

    pub(super) fn has_return_path(&self) -> bool {
        self.return_path.load(Ordering::Acquire)
    }

    /// All of RAM has been passed on: only from now on can the destination have everything.
    pub(super) fn set_ram_complete(&self) {
        self.ram_complete.store(true, Ordering::Release);
    }

    pub(super) fn is_ram_complete(&self) -> bool {
        self.ram_complete.load(Ordering::Acquire)
    }

    /// The source has got its last message, whatever it said.
    pub(super) fn set_shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// The destination has the guest, and the source is being told so: it may close its connections.
    pub(super) fn set_destination_has_guest(&self) {
        self.has_guest.store(true, Ordering::Release);
    }

    pub(super) fn destination_has_guest(&self) -> bool {
        self.has_guest.load(Ordering::Acquire)
    }

    /// The source has been told that the destination has the guest.
    pub(super) fn set_confirmed(&self) {
        *self.confirmed.lock() = Some(Instant::now());
    }

    pub(super) fn confirmed(&self) -> Option<Instant> {
        *self.confirmed.lock()
    }

    /// A PING is being passed on.
    pub(super) fn set_ping(&self) {
        self.ping.lock().get_or_insert_with(Instant::now);
    }

    /// The destination has said something.
    pub(super) fn clear_ping(&self) {
        *self.ping.lock() = None;
    }

    /// How long a PING has not been answered.
    pub(super) fn unanswered(&self) -> Option<Duration> {
        self.ping.lock().map(|ping| ping.elapsed())
    }

    /// Bytes of the main stream are being given to the connection, or have been, so many in all.
    pub(super) fn set_main(&self, busy: bool, bytes: u64) {
        self.main_bytes.store(bytes, Ordering::Relaxed);
        self.main_busy.store(busy, Ordering::Relaxed);
    }

    pub(super) fn main_bytes(&self) -> u64 {
        self.main_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_main_busy(&self) -> bool {
        self.main_busy.load(Ordering::Relaxed)
    }
}
