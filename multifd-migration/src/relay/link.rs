// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the two directions of the main connection know of each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::last_words::LastWords;
use crate::stream::ReturnMessage;

/// Shared by the thread that passes on the main stream and the one that passes on the return path.
#[derive(Debug)]
pub(super) struct Link {
    start: Instant,
    return_path: AtomicBool,
    ram_complete: AtomicBool,
    shut: AtomicBool,
    last_words: Mutex<LastWords>,
    pings: Mutex<Pings>,
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
            last_words: Mutex::default(),
            pings: Mutex::default(),
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

    /// Whether the destination has the guest, and the source is being told so: it may close its connections.
    pub(super) fn destination_has_guest(&self) -> bool {
        self.last_words.lock().destination_has_guest()
    }

    /// Whether the destination has everything, and the source may be told so at any moment: before that a source that
    /// waits for this word closes its connections only if the guest stays there.
    pub(super) fn is_whole(&self) -> bool {
        self.last_words.lock().is_whole()
    }

    /// Whether the destination has everything, and waits for the source to give the guest up.
    pub(super) fn waits_for_release(&self) -> bool {
        self.last_words.lock().waits_for_release()
    }

    /// Whether the source has given the guest up.
    pub(super) fn is_released(&self) -> bool {
        self.last_words.lock().is_released()
    }

    /// Whether no message follows this one.
    pub(super) fn is_last(&self, message: ReturnMessage) -> bool {
        self.last_words.lock().is_last(message)
    }

    /// The source has been told that the destination has the guest.
    pub(super) fn set_confirmed(&self) {
        self.last_words.lock().set_confirmed();
    }

    pub(super) fn confirmed(&self) -> Option<Instant> {
        self.last_words.lock().confirmed()
    }

    /// A PING is being passed on.
    pub(super) fn set_ping(&self, value: u32) {
        self.last_words.lock().ping(value);
        let mut pings = self.pings.lock();
        pings.sent += 1;
        pings.unanswered.get_or_insert_with(Instant::now);
    }

    /// RAM's START section is being passed on.
    pub(super) fn set_announced(&self) {
        let mut pings = self.pings.lock();
        pings.before_start = Some(pings.sent);
    }

    /// The destination has said something, which is being passed on.
    pub(super) fn hear(&self, message: ReturnMessage) {
        self.last_words.lock().hear(message);
        let mut pings = self.pings.lock();
        pings.answered += u64::from(matches!(message, ReturnMessage::Pong(_)));
        pings.unanswered = None;
        if pings.answered < pings.sent && pings.is_making_memory() {
            pings.unanswered = Some(Instant::now());
        }
    }

    /// How long a PING has not been answered.
    pub(super) fn unanswered(&self) -> Option<Duration> {
        self.pings.lock().unanswered.map(|ping| ping.elapsed())
    }

    /// Whether the destination has answered all PINGs up to RAM's START section and none of those behind it: it makes
    /// its memory.
    pub(super) fn is_making_memory(&self) -> bool {
        self.pings.lock().is_making_memory()
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

/// The PINGs that have been passed on, and their answers.
#[derive(Debug, Default)]
struct Pings {
    sent: u64,
    answered: u64,
    /// How many were sent before RAM's START section, once that is known.
    before_start: Option<u64>,
    /// Since when one is not answered.
    unanswered: Option<Instant>,
}

impl Pings {
    fn is_making_memory(&self) -> bool {
        self.answered > 0 && self.before_start == Some(self.answered) && self.sent > self.answered
    }
}
