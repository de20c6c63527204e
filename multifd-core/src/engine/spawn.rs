// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the engine knows of its threads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::control::Control;
use crate::error::{Error, Fault};
use crate::method::{Spawn, ThreadKind};

/// Tells the host that a thread has been set up.
///
/// # Errors
/// The host does not want it.
pub(crate) fn ready(threads: &dyn Spawn, thread: ThreadKind) -> Result<(), Error> {
    threads.ready(thread).map_err(|error| {
        let what = format!("the host refused the thread {thread}: {error}");
        Error::new(Fault::Caller, what)
    })
}

/// Waits for all threads that hold a [`ThreadGuard`] of it.
#[derive(Debug, Default)]
pub(crate) struct ThreadGroup(Arc<Members>);

/// Held by a thread while it runs, and dropped after everything else that it has.
pub(crate) struct ThreadGuard(Arc<Members>);

#[derive(Debug, Default)]
struct Members {
    count: Mutex<Count>,
    /// The last thread has ended.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Count {
    alive: usize,
    closed: bool,
}

/// Held by a thread while it works. A panic fails the migration instead of leaving it hanging; it is
/// dropped before the thread's queues, so that whoever finds them closed finds the reason, too.
pub(crate) struct PanicGuard<'a>(pub(crate) &'a Control);

impl ThreadGroup {
    /// To be given to a new thread; `None` once the threads are waited for by [`Self::join`].
    pub(crate) fn guard(&self) -> Option<ThreadGuard> {
        let mut count = self.0.count.lock();
        if count.closed {
            return None;
        }
        count.alive += 1;
        Some(ThreadGuard(Arc::clone(&self.0)))
    }

    /// Blocks until every guard is gone, but for no longer than `limit`. Threads may be added meanwhile.
    pub(crate) fn wait_idle(&self, limit: Duration) {
        let Members { count, idle } = &*self.0;
        idle.wait_while_for(&mut count.lock(), |count| count.alive > 0, limit);
    }

    /// Blocks until every guard is gone, but for no longer than `limit`: a thread may be in the host's code, where
    /// nothing can wake it up. Those are left alone; they hold all that they use. No thread can be added afterwards.
    pub(crate) fn join(&self, limit: Duration) {
        let Members { count, idle } = &*self.0;
        let mut count = count.lock();
        count.closed = true;
        idle.wait_while_for(&mut count, |count| count.alive > 0, limit);
        if count.alive > 0 {
            let (alive, seconds) = (count.alive, limit.as_secs_f32());
            log::warn!(
                "{alive} threads did not return from the host's code within {seconds} s and were abandoned: \
                 a device state's sink, a method or a connection blocks"
            );
        }
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        let Members { count, idle } = &*self.0;
        let mut count = count.lock();
        count.alive -= 1;
        if count.alive == 0 {
            idle.notify_all();
        }
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
