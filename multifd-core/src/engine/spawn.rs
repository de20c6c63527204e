//! How the engine gets its threads.

use std::io;

use crossbeam_channel as queue;
use parking_lot::Mutex;

use super::control::Control;
use crate::error::{Error, Fault};
use crate::geometry::ChannelId;

/// Starts the engine's threads: the host's chance to name, count, confine and pin them.
pub trait Spawn: Send + Sync {
    /// Runs `body` on a new thread. The name has at most 15 bytes, what Linux keeps of it.
    ///
    /// # Errors
    /// The system has no thread left; the migration fails.
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Called on a channel's thread once its method is set up, before its first packet: the place
    /// to install a seccomp filter or a CPU affinity. From here on the thread opens nothing, sleeps
    /// never, and spawns nothing.
    ///
    /// A filter has to leave room for the C library, too. glibc calls `rt_sigprocmask` when a thread
    /// exits, and opens `/proc/sys/vm/overcommit_memory` the first time that a process gives memory of
    /// a thread's heap back: see `tests/tests/seccomp.rs` for both.
    ///
    /// # Errors
    /// Any; the migration fails.
    fn channel_ready(&self, channel: ChannelId) -> io::Result<()> {
        let _ = channel;
        Ok(())
    }
}

/// Threads of the standard library.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdThreads;

impl Spawn for StdThreads {
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name).spawn(body).map(drop)
    }
}

/// Waits for all threads that hold a [`ThreadGuard`] of it.
#[derive(Debug)]
pub(crate) struct ThreadGroup {
    alive: Mutex<Option<queue::Sender<()>>>,
    ended: queue::Receiver<()>,
}

/// Held by a thread while it runs, and dropped after everything else that it has.
pub(crate) struct ThreadGuard {
    _alive: queue::Sender<()>,
}

/// Held by a thread while it works. A panic fails the migration instead of leaving it hanging; it is
/// dropped before the thread's queues, so that whoever finds them closed finds the reason, too.
pub(crate) struct PanicGuard<'a>(pub(crate) &'a Control);

impl ThreadGroup {
    pub(crate) fn new() -> Self {
        let (alive, ended) = queue::bounded(0);
        Self {
            alive: Mutex::new(Some(alive)),
            ended,
        }
    }

    /// To be given to a new thread; `None` once the threads are waited for.
    pub(crate) fn guard(&self) -> Option<ThreadGuard> {
        let alive = self.alive.lock().clone()?;
        Some(ThreadGuard { _alive: alive })
    }

    /// Blocks until every guard is gone. No thread can be added afterwards.
    pub(crate) fn join(&self) {
        *self.alive.lock() = None;
        // Nothing is ever sent, so this returns when the last guard is dropped.
        let _ = self.ended.recv();
    }
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .fail(Error::new(Fault::Caller, "a channel's thread panicked"));
        }
    }
}
