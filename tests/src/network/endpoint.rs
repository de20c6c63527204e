// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One end of a connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};

use super::pipe::{Patience, Pipe};

/// One end of a connection; dropping it and its [duplicates](Transport::duplicate) closes both
/// directions.
pub struct Endpoint {
    open: Arc<Open>,
    interrupter: Arc<Interrupter>,
    scratch: Vec<u8>,
    time_limit: Option<Duration>,
    waited: Duration,
}

struct Interrupter {
    interrupted: AtomicBool,
    pipes: [Arc<Pipe>; 2],
}

impl Endpoint {
    pub(super) fn new(out: Arc<Pipe>, inward: Arc<Pipe>) -> Self {
        Self::handle(Arc::new(Open { out, inward }))
    }

    fn handle(open: Arc<Open>) -> Self {
        let interrupter = Interrupter {
            interrupted: false.into(),
            pipes: [Arc::clone(&open.out), Arc::clone(&open.inward)],
        };
        Self {
            open,
            interrupter: Arc::new(interrupter),
            scratch: vec![0; SCRATCH],
            time_limit: None,
            waited: Duration::ZERO,
        }
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut [u8], &Patience<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = Instant::now();
        let interrupter = &self.interrupter;
        let patience = Patience {
            interrupted: &|| interrupter.interrupted.load(Ordering::Relaxed),
            deadline: self.time_limit.and_then(|limit| start.checked_add(limit)),
        };
        let result = call(&mut self.scratch, &patience);
        self.waited += start.elapsed();
        result
    }
}

impl Transport for Endpoint {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        let pipe = Arc::clone(&self.open.out);
        self.call(|scratch, patience| pipe.send(bytes, scratch, patience))
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let pipe = Arc::clone(&self.open.inward);
        self.call(|scratch, patience| pipe.recv(room, scratch, patience))
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupter) as Arc<dyn Interrupt>
    }

    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Self::handle(Arc::clone(&self.open))))
    }

    fn resume(&mut self) {
        self.interrupter.interrupted.store(false, Ordering::Relaxed);
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
    }

    fn has_ended(&self) -> bool {
        self.open.inward.has_ended()
    }

    fn waited(&self) -> Duration {
        self.waited
    }
}

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        for pipe in &self.pipes {
            pipe.change(|_| self.interrupted.store(true, Ordering::Relaxed));
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint")
    }
}

/// Held by every handle of an end.
struct Open {
    out: Arc<Pipe>,
    inward: Arc<Pipe>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.out.change(super::pipe::State::sender_leaves);
        self.inward.change(super::pipe::State::receiver_leaves);
    }
}

/// Most bytes that a call takes.
const SCRATCH: usize = 16 * 1024;
