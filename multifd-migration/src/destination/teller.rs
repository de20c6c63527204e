// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Words to a source that waits: what the host does meanwhile.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::transport::{Transport, send_all};
use multifd_core::{AbortHandle, Error, Fault, ReceiverConfig, ThreadKind};
use parking_lot::{Condvar, Mutex};

use crate::stream::{Incoming, ReturnMessage};
use crate::{Work, thread};

/// Says again and again what the host works at, on a thread of its own: the host's call does not return
/// meanwhile. The thread is there before the guest is paused.
pub(super) struct Teller {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Between two words, and before the first one.
    interval: Duration,
}

struct State {
    /// The main connection, for as long as there may be something to say.
    to_source: Option<Box<dyn Transport>>,
    work: Option<Work>,
    failed: Option<io::Error>,
}

impl Teller {
    /// Starts the thread, which says nothing yet.
    pub(super) fn start(
        stream: &mut Incoming,
        config: &ReceiverConfig,
        abort: AbortHandle,
    ) -> Result<Self, Error> {
        let main = stream.reader_mut().transport_mut();
        let mut to_source = main.duplicate().map_err(|error| {
            let what = format!("cannot duplicate the main connection: {error}");
            Error::new(Fault::Caller, what)
        })?;
        to_source.set_time_limit(Some(config.limits.reply));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                to_source: Some(to_source),
                work: None,
                failed: None,
            }),
            changed: Condvar::new(),
            interval: (config.limits.confirm / 4).min(LONGEST_INTERVAL),
        });
        let worker = Arc::clone(&shared);
        thread::start(
            &config.threads,
            ThreadKind::Work,
            move |ready| match ready {
                Ok(()) => worker.run(),
                Err(error) => abort.fail(error),
            },
        )?;
        Ok(Self { shared })
    }

    /// The host works from now on.
    pub(super) fn begin(&self, work: Work) {
        self.shared.state.lock().work = Some(work);
        self.shared.changed.notify_one();
    }

    /// The host is done: nothing more is said, and no word is under way.
    ///
    /// # Errors
    /// A word could not be sent, or only a part of it: whatever follows would be misunderstood.
    pub(super) fn end(self) -> Result<(), Error> {
        let failed = self.shared.state.lock().failed.take();
        failed.map_or(Ok(()), |error| {
            let what = format!("the source cannot be told that this side works: {error}");
            Err(Error::new(Fault::Connection, what))
        })
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // Here and not by the thread: the connection ends when its last handle is closed, and nobody waits for the thread.
        self.shared.state.lock().to_source = None;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while state.to_source.is_some() {
            if state.work.is_none() {
                self.changed.wait(&mut state);
                continue;
            }
            let woken = self.changed.wait_for(&mut state, self.interval);
            if woken.timed_out() {
                state.say();
            }
        }
    }
}

impl State {
    fn say(&mut self) {
        let (Some(source), Some(work)) = (&mut self.to_source, self.work) else {
            return;
        };
        let word = ReturnMessage::Pong(work.pong()).encode();
        if let Err(error) = send_all(&mut **source, &mut [word.as_slice().into()]) {
            self.failed = Some(error);
            self.to_source = None;
        }
    }
}

const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
