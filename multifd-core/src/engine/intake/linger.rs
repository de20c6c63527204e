// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that outlive a failure for a moment.
//!
//! A source is told of a failure on the main channel. If its channels broke at the same time, it could meet
//! that first, at any moment of its set-up; a QEMU that has not sent its first SYNC yet may then wait for a
//! channel that is no more, and take no other migration. So the threads of the channels go on taking what
//! still comes, and throw it away, until the source closes the connection or this side has waited long enough.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::memory::IoVecMut;
use crate::transport::{Interrupt, Transport};

/// The connections of a migration that has failed.
#[derive(Default)]
pub(super) struct Linger(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    over: bool,
    interrupters: Vec<Arc<dyn Interrupt>>,
}

impl Linger {
    /// Makes a connection usable again that the failure has interrupted. Returns whether there is still time.
    pub(super) fn admit(&self, connection: &mut dyn Transport) -> bool {
        let mut kept = self.0.lock();
        if !kept.over {
            connection.resume();
            connection.set_time_limit(None);
            kept.interrupters.push(connection.interrupter());
        }
        !kept.over
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.lock().over
    }

    /// Interrupts all connections; no other is admitted.
    pub(super) fn end(&self) {
        let mut kept = self.0.lock();
        kept.over = true;
        for interrupter in std::mem::take(&mut kept.interrupters) {
            interrupter.interrupt();
        }
    }
}

impl std::fmt::Debug for Linger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept = self.0.lock();
        write!(f, "over {}, {}", kept.over, kept.interrupters.len())
    }
}

/// Reads and forgets what comes until the peer closes the connection, or it is interrupted.
pub(super) fn drain(connection: &mut dyn Transport) {
    // On the stack: after the host's hook a channel's thread needs no more memory.
    let mut scratch = [0; SCRATCH];
    while let Ok(1..) = connection.recv(&mut [IoVecMut::from(scratch.as_mut_slice())]) {}
}

const SCRATCH: usize = 16 * 1024;
