// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the destination says to the source.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{self as queue, select_biased};
use multifd_core::transport::{Interrupt, Transport};
use multifd_core::{AbortHandle, Error, Fault, Spawn, ThreadKind};

use crate::handover::{self, Work};
use crate::stream::{ReturnMessage, ReturnReader, StreamError};
use crate::thread;

/// Listens to the destination on a thread of its own, so that a failure there is known at once.
///
/// It outlives a failure of the other connections for a moment: the destination breaks them, too,
/// when it refuses the guest, and says why here.
pub(super) struct ReturnPath {
    answers: queue::Receiver<Result<Answer, Error>>,
    pongs: queue::Receiver<u32>,
    /// What the destination works at, when it has just said so.
    works: queue::Receiver<Work>,
    /// The destination takes the guest only when it is told to.
    hands_over: Arc<AtomicBool>,
    /// Everything has been sent: only from now on can the destination have everything.
    complete: Arc<AtomicBool>,
    /// The destination has answered a PING.
    answered: Arc<AtomicBool>,
    /// The PING behind RAM's START section has been answered: the destination has its memory.
    memory_made: Arc<AtomicBool>,
    /// The destination has said that it did not take the guest.
    refused: Arc<AtomicBool>,
    abort: AbortHandle,
    /// Has a message once the migration is over.
    over: queue::Receiver<()>,
    interrupter: Arc<dyn Interrupt>,
}

/// What the destination says while it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Answer(Answer),
    /// It has everything, but its host is not done yet.
    Works(Work),
}

/// What the destination says once it has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// There is one more to come, when it has been told to run the guest.
    pub(super) hands_over: bool,
}

impl ReturnPath {
    /// Listens to a destination to which a handover is offered, or is not.
    pub(super) fn start(
        (transport, offers): (Box<dyn Transport>, bool),
        abort: AbortHandle,
        threads: &Arc<dyn Spawn>,
    ) -> Result<Self, Error> {
        let interrupter = transport.interrupter();
        let (say_over, over) = queue::bounded(1);
        abort.watch(Arc::new(Over(say_over)));
        let (say, answers) = queue::bounded(1);
        let (pong, pongs) = queue::bounded(1);
        let (work, works) = queue::bounded(1);
        let complete = Arc::new(AtomicBool::new(false));
        let hands_over = Arc::new(AtomicBool::new(false));
        let (answered, refused) = (Arc::default(), Arc::default());
        let memory_made = Arc::<AtomicBool>::default();
        let listener = Listener {
            memory_made: Arc::clone(&memory_made),
            reader: ReturnReader::new(transport),
            pongs: LastPong {
                say: pong,
                said: pongs.clone(),
            },
            works: work,
            complete: Arc::clone(&complete),
            offers,
            hands_over: Arc::clone(&hands_over),
            answered: Arc::clone(&answered),
            refused: Arc::clone(&refused),
            confirmed: false,
            abort: abort.clone(),
        };
        thread::start(threads, ThreadKind::ReturnPath, move |ready| match ready {
            Ok(()) => listener.run(&say),
            Err(error) => {
                listener.abort.fail(error.clone());
                let _ = say.send(Err(error));
            }
        })?;
        Ok(Self {
            answers,
            pongs,
            works,
            hands_over,
            complete,
            answered,
            memory_made,
            refused,
            abort,
            over,
            interrupter,
        })
    }

    /// From now on the destination may confirm.
    pub(super) fn expect_confirmation(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Returns whether the destination makes its memory, and may take nothing meanwhile: it has answered what
    /// came before RAM's START section, but not yet the PING behind it, for no longer than `limit`.
    pub(super) fn making_memory(
        &self,
        limit: Duration,
    ) -> impl Fn() -> bool + Clone + Send + 'static {
        let (answered, made) = (Arc::clone(&self.answered), Arc::clone(&self.memory_made));
        let start = Instant::now();
        move || {
            answered.load(Ordering::Acquire)
                && !made.load(Ordering::Acquire)
                && start.elapsed() < limit
        }
    }

    /// Forgets the answers so far. To be called before a PING whose answer is waited for.
    pub(super) fn forget_pongs(&self) {
        while self.pongs.try_recv().is_ok() {}
    }

    /// Waits for the answer to PING `value`, at most for `limit`; returns whether it came.
    pub(super) fn wait_pong(&self, value: u32, limit: Duration) -> Result<bool, Error> {
        let deadline = queue::at(Instant::now() + limit);
        loop {
            select_biased! {
                recv(self.over) -> _ => {
                    return Err(self.abort.error().unwrap_or_else(Error::aborted));
                }
                recv(self.pongs) -> pong => match pong {
                    Ok(pong) if pong == value => return Ok(true),
                    Ok(_) => {}
                    Err(_) => {
                        self.check()?;
                        return Err(ended());
                    }
                },
                recv(deadline) -> _ => return Ok(false),
            }
        }
    }

    /// Whether the destination takes the guest only when it is told to.
    pub(super) fn hands_over(&self) -> bool {
        self.hands_over.load(Ordering::Acquire)
    }

    /// Whether the destination has answered any PING.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether the destination has said that it did not take the guest: it never runs it.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// Checks, before a confirmation is waited for, that the destination is still there.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.answers.try_recv() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(queue::TryRecvError::Disconnected) => Err(ended()),
            Err(queue::TryRecvError::Empty) => Ok(()),
        }
    }

    /// Waits for the destination's next word, first that everything is safe there, and returns as well when it says
    /// what it works at meanwhile; `None` if nothing has come by the deadline.
    pub(super) fn wait(&self, deadline: Instant) -> Result<Option<Word>, Error> {
        let deadline = queue::at(deadline);
        select_biased! {
            recv(self.answers) -> word => {
                word.unwrap_or_else(|_| Err(Error::aborted())).map(|answer| Some(Word::Answer(answer)))
            }
            recv(self.over) -> _ => Err(self.abort.error().unwrap_or_else(Error::aborted)),
            recv(self.works) -> work => match work {
                Ok(work) => Ok(Some(Word::Works(work))),
                // The thread has ended, and has said before why.
                Err(_) => self.answers.recv().unwrap_or_else(|_| Err(Error::aborted()))
                    .map(|answer| Some(Word::Answer(answer))),
            },
            recv(deadline) -> _ => Ok(None),
        }
    }

    /// What the destination has said went wrong there, if it still does so within `limit`.
    pub(super) fn last_word(&self, limit: Duration) -> Option<Error> {
        let word = self.answers.recv_timeout(limit).ok()?;
        word.err().filter(|error| error.fault() == Fault::Peer)
    }
}

impl Drop for ReturnPath {
    fn drop(&mut self) {
        self.interrupter.interrupt();
        // The thread ends now, and with it its end of the queue.
        while self.answers.recv().is_ok() {}
    }
}

impl fmt::Debug for ReturnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnPath")
    }
}

/// Says that the migration is over.
pub(super) struct Over(pub(super) queue::Sender<()>);

impl Interrupt for Over {
    fn interrupt(&self) {
        // If there is a message already, it says the same.
        let _ = self.0.try_send(());
    }
}

fn ended() -> Error {
    let what = "the destination's side of the main connection has ended";
    Error::new(Fault::Connection, what)
}

/// The thread's part.
struct Listener {
    reader: ReturnReader,
    pongs: LastPong,
    works: queue::Sender<Work>,
    complete: Arc<AtomicBool>,
    memory_made: Arc<AtomicBool>,
    /// This side says when the guest may run there, if the destination accepts it.
    offers: bool,
    hands_over: Arc<AtomicBool>,
    answered: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
    confirmed: bool,
    abort: AbortHandle,
}

impl Listener {
    /// Listens until the destination's last word. A failure ends the migration.
    fn run(mut self, say: &queue::Sender<Result<Answer, Error>>) {
        loop {
            let word = self.listen();
            if let Err(error) = &word
                && error.fault() == Fault::Peer
            {
                self.abort.fail(error.clone());
            }
            let more = word.as_ref().is_ok_and(|word| word.hands_over);
            // Fails only if nobody waits any more.
            if say.send(word).is_err() || !more {
                return;
            }
        }
    }

    fn listen(&mut self) -> Result<Answer, Error> {
        loop {
            let message = self.reader.next_message();
            let Some(message) = message.map_err(|error| self.broken(error))? else {
                let what = "the destination closed the main connection without confirming";
                return Err(Error::new(Fault::Connection, what));
            };
            match message {
                ReturnMessage::Shut(code) => return self.shut(code),
                ReturnMessage::Pong(handover::ACCEPT) if self.offers => {
                    self.hands_over.store(true, Ordering::Release);
                    self.answered.store(true, Ordering::Release);
                }
                ReturnMessage::Pong(handover::GO) if self.confirmed => {
                    return Ok(Answer { hands_over: false });
                }
                ReturnMessage::Pong(value) if self.says_work(value) => {}
                ReturnMessage::Pong(value) => {
                    self.answered.store(true, Ordering::Release);
                    if value == MEMORY_PING {
                        self.memory_made.store(true, Ordering::Release);
                    }
                    self.pongs.say(value);
                }
                ReturnMessage::SwitchoverAck => {}
            }
        }
    }

    /// Whether this is no answer to a PING, but a word of a destination that works, and has everything.
    fn says_work(&self, value: u32) -> bool {
        let works = Work::from_pong(value).filter(|_| self.complete.load(Ordering::Acquire));
        if let Some(work) = works {
            // If there is one already that nobody has read, this one says nothing new.
            let _ = self.works.try_send(work);
        }
        works.is_some()
    }

    fn shut(&mut self, code: u32) -> Result<Answer, Error> {
        let hands_over = self.hands_over.load(Ordering::Acquire);
        if code != 0 && self.confirmed {
            let what = match hands_over {
                true => format!(
                    "the destination has all of the guest but could not start it (SHUT {code}): it is kept there, and \
                     see its own log for the reason"
                ),
                false => format!("the destination sent SHUT {code} after it had confirmed"),
            };
            return Err(Error::new(Fault::Peer, what));
        }
        if code != 0 {
            self.refused.store(true, Ordering::Release);
            let what = format!(
                "the destination could not take the guest (SHUT {code}): \
                 see its own log for the reason"
            );
            return Err(Error::new(Fault::Peer, what));
        }
        if self.confirmed || !self.complete.load(Ordering::Acquire) {
            let when = if self.confirmed {
                "twice"
            } else {
                "before everything was sent"
            };
            let what = format!("the destination confirmed {when}");
            return Err(Error::new(Fault::Peer, what));
        }
        self.confirmed = true;
        Ok(Answer { hands_over })
    }

    /// An interrupted connection is an abort, and says nothing by itself.
    fn broken(&self, error: StreamError) -> Error {
        self.abort.error().unwrap_or_else(|| error.into())
    }
}

/// The last answer to a PING, of those that nobody has taken.
struct LastPong {
    say: queue::Sender<u32>,
    said: queue::Receiver<u32>,
}

impl LastPong {
    fn say(&self, value: u32) {
        while self.say.try_send(value).is_err() {
            // Room for one: the one before is late, and of no interest any more.
            let _ = self.said.try_recv();
        }
    }
}

/// The value of the PING behind RAM's START section: the second one.
pub(super) const MEMORY_PING: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pong_is_kept() {
        let (say, said) = queue::bounded(1);
        let pongs = LastPong {
            say,
            said: said.clone(),
        };
        // The answer to the first PING, which nobody waits for, and just behind it one that is waited for.
        pongs.say(1);
        pongs.say(2);
        assert_eq!(said.try_recv(), Ok(2));
        drop(pongs);
        assert!(said.recv().is_err(), "the thread has ended");
    }
}
