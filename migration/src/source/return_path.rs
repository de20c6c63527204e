//! What the destination says to the source.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{self as queue, select_biased};
use multifd_core::transport::{Interrupt, Transport};
use multifd_core::{AbortHandle, Error, Fault, Spawn};

use crate::stream::{ReturnMessage, ReturnReader, StreamError};

/// Listens to the destination on a thread of its own, so that a failure there is known at once.
///
/// It outlives a failure of the other connections for a moment: the destination breaks them, too,
/// when it refuses the guest, and says why here.
pub(super) struct ReturnPath {
    verdict: queue::Receiver<Result<(), Error>>,
    /// Everything has been sent: only from now on can the destination have everything.
    complete: Arc<AtomicBool>,
    abort: AbortHandle,
    /// Has a message once the migration is over.
    over: queue::Receiver<()>,
    interrupter: Arc<dyn Interrupt>,
}

impl ReturnPath {
    pub(super) fn start(
        transport: Box<dyn Transport>,
        abort: AbortHandle,
        threads: &dyn Spawn,
    ) -> Result<Self, Error> {
        let interrupter = transport.interrupter();
        let (say_over, over) = queue::bounded(1);
        abort.watch(Arc::new(Over(say_over)));
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
                let what = format!("cannot start the return path's thread: {error}");
                Error::new(Fault::Caller, what)
            })?;
        Ok(Self {
            verdict,
            complete,
            abort,
            over,
            interrupter,
        })
    }

    /// From now on the destination may confirm.
    pub(super) fn expect_confirmation(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Waits until the destination has said that everything is safe.
    pub(super) fn wait_confirmation(&self, limit: Duration) -> Result<(), Error> {
        select_biased! {
            recv(self.verdict) -> verdict => verdict.unwrap_or_else(|_| Err(Error::aborted())),
            recv(self.over) -> _ => Err(self.abort.error().unwrap_or_else(Error::aborted)),
            default(limit) => {
                let seconds = limit.as_secs_f32();
                let what = format!(
                    "the destination has everything but has not confirmed it within {seconds} s"
                );
                Err(Error::new(Fault::Connection, what))
            }
        }
    }

    /// What the destination has said went wrong there, if it still does so in a moment.
    pub(super) fn last_word(&self) -> Option<Error> {
        let verdict = self.verdict.recv_timeout(LAST_WORD).ok()?;
        verdict.err().filter(|error| error.fault() == Fault::Peer)
    }
}

impl Drop for ReturnPath {
    fn drop(&mut self) {
        self.interrupter.interrupt();
        // The thread ends now, and with it its end of the queue.
        while self.verdict.recv().is_ok() {}
    }
}

impl fmt::Debug for ReturnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnPath")
    }
}

/// Says that the migration is over.
struct Over(queue::Sender<()>);

impl Interrupt for Over {
    fn interrupt(&self) {
        // If there is a message already, it says the same.
        let _ = self.0.try_send(());
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
