//! What the destination says to the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel as queue;
use multifd_core::transport::Transport;
use multifd_core::{AbortHandle, Error, Fault, Spawn};

use crate::stream::{ReturnMessage, ReturnReader, StreamError};

/// Listens to the destination on a thread of its own, so that a failure there is known at once.
#[derive(Debug)]
pub(super) struct ReturnPath {
    verdict: queue::Receiver<Result<(), Error>>,
    /// Everything has been sent: only from now on can the destination have everything.
    complete: Arc<AtomicBool>,
    abort: AbortHandle,
}

impl ReturnPath {
    pub(super) fn start(
        transport: Box<dyn Transport>,
        abort: AbortHandle,
        threads: &dyn Spawn,
    ) -> Result<Self, Error> {
        abort.watch(transport.interrupter());
        let (send_verdict, verdict) = queue::bounded(1);
        let complete = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            reader: ReturnReader::new(transport),
            complete: Arc::clone(&complete),
            abort: abort.clone(),
        };
        let body = Box::new(move || {
            // Fails only if nobody waits any more.
            let _ = send_verdict.send(listener.run());
        });
        threads
            .spawn("multifd-return".into(), body)
            .map_err(|error| {
                Error::new(
                    Fault::Caller,
                    format!("cannot start the return path's thread: {error}"),
                )
            })?;
        Ok(Self {
            verdict,
            complete,
            abort,
        })
    }

    /// From now on the destination may confirm.
    pub(super) fn expect_confirmation(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Waits until the destination has said that everything is safe.
    pub(super) fn wait_confirmation(&self, limit: Duration) -> Result<(), Error> {
        match self.verdict.recv_timeout(limit) {
            Ok(verdict) => verdict,
            Err(queue::RecvTimeoutError::Timeout) => {
                let seconds = limit.as_secs_f32();
                let what = format!(
                    "the destination has everything but has not confirmed it within {seconds} s"
                );
                Err(Error::new(Fault::Connection, what))
            }
            Err(queue::RecvTimeoutError::Disconnected) => {
                Err(self.abort.error().unwrap_or_else(Error::aborted))
            }
        }
    }

    /// What the destination has said went wrong there, if it still does so in a moment.
    pub(super) fn last_word(&self) -> Option<Error> {
        let verdict = self.verdict.recv_timeout(LAST_WORD).ok()?;
        verdict.err().filter(|error| error.fault() == Fault::Peer)
    }
}

/// The thread's part.
struct Listener {
    reader: ReturnReader,
    complete: Arc<AtomicBool>,
    abort: AbortHandle,
}

impl Listener {
    /// Listens until the destination's last message. A failure ends the migration.
    fn run(mut self) -> Result<(), Error> {
        let verdict = self.listen();
        if let Err(error) = &verdict
            && error.fault() == Fault::Peer
        {
            self.abort.fail(error.clone());
        }
        verdict
    }

    fn listen(&mut self) -> Result<(), Error> {
        loop {
            match self
                .reader
                .next_message()
                .map_err(|error| self.broken(error))?
            {
                Some(ReturnMessage::Shut(0)) if self.complete.load(Ordering::Acquire) => {
                    return Ok(());
                }
                Some(ReturnMessage::Shut(0)) => {
                    let what = "the destination confirmed before everything was sent";
                    return Err(Error::new(Fault::Peer, what));
                }
                Some(ReturnMessage::Shut(code)) => {
                    let what = format!(
                        "the destination could not take the guest (SHUT {code}): \
                         what was wrong stands in its own log"
                    );
                    return Err(Error::new(Fault::Peer, what));
                }
                Some(ReturnMessage::Pong(_) | ReturnMessage::SwitchoverAck) => {}
                None => {
                    let what = "the destination closed the main connection without confirming";
                    return Err(Error::new(Fault::Connection, what));
                }
            }
        }
    }

    /// An interrupted connection is an abort, and says nothing by itself.
    fn broken(&self, error: StreamError) -> Error {
        self.abort.error().unwrap_or_else(|| error.into())
    }
}

/// How long to wait for the destination's word when its connections break.
const LAST_WORD: Duration = Duration::from_secs(1);
