// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Threads that are counted, fail to start, or are refused by the host.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};
use multifd_core::{Spawn, ThreadKind};
use parking_lot::{Condvar, Mutex};

/// Starts threads and can wait for their end.
#[derive(Default)]
pub(crate) struct Threads {
    /// Which one cannot be started, counted from 0.
    pub(crate) fails_at: Option<usize>,
    /// Which channel's thread the host refuses.
    pub(crate) refuses: Option<u8>,
    /// Where the threads of channels wait.
    pub(crate) ready: Gate,
    pub(crate) started: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Waits for the end of all threads and answers how many there were.
    pub(crate) fn join(&self) -> usize {
        let threads = std::mem::take(&mut *self.started.lock());
        let count = threads.len();
        for thread in threads {
            // One that panicked has ended, too.
            let _ = thread.join();
        }
        count
    }
}

impl Spawn for Threads {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let name = thread.to_string();
        assert!(name.len() <= 15 + 5, "{name}");
        let mut started = self.started.lock();
        if self.fails_at == Some(started.len()) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        started.push(thread::Builder::new().name(name).spawn(body)?);
        Ok(())
    }

    fn ready(&self, thread: ThreadKind) -> io::Result<()> {
        let (ThreadKind::Send(channel)
        | ThreadKind::Receive(channel)
        | ThreadKind::Forward(channel)) = thread
        else {
            return Ok(());
        };
        self.ready.pass();
        if self.refuses == Some(channel.number()) {
            return Err(io::Error::other("no filter for this thread"));
        }
        Ok(())
    }
}

/// Where threads wait until they are let through; open unless it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        let gate = Self::default();
        gate.state.lock().closed = true;
        gate
    }

    /// Waits until the gate is open.
    pub(crate) fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
    }

    /// Waits until so many threads wait.
    pub(crate) fn wait_for(&self, threads: usize) {
        let mut state = self.state.lock();
        while state.waiting < threads {
            self.changed.wait(&mut state);
        }
    }

    pub(crate) fn open(&self) {
        self.state.lock().closed = false;
        self.changed.notify_all();
    }
}

/// Things that are alive: connections, states of methods.
#[derive(Clone, Default)]
pub(crate) struct Alive(Arc<AtomicUsize>);

/// Counts as long as it lives.
pub(crate) struct AliveGuard(Alive);

impl Alive {
    pub(crate) fn guard(&self) -> AliveGuard {
        self.0.fetch_add(1, Ordering::SeqCst);
        AliveGuard(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The same connection, counted.
    pub(crate) fn watch(&self, connection: impl Transport + 'static) -> Box<dyn Transport> {
        Box::new(Counted {
            connection,
            _alive: self.guard(),
        })
    }
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Counted<T> {
    connection: T,
    _alive: AliveGuard,
}

impl<T: Transport> Transport for Counted<T> {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.connection.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        self.connection.recv(room)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.connection.interrupter()
    }

    fn resume(&mut self) {
        self.connection.resume();
    }

    fn set_time_limit(&mut self, limit: Option<std::time::Duration>) {
        self.connection.set_time_limit(limit);
    }
}
