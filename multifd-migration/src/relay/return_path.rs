// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The return path, passed on from the destination to the source.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel as queue;
use multifd_core::engine::{Backlog, Stall};
use multifd_core::transport::{Interrupt, Transport, send_all};
use multifd_core::{AbortHandle, Error, Fault, Limits, Monitor, Spawn, ThreadKind};

use super::RelayHandle;
use super::link::Link;
use super::side::{from_source, source_is_gone, to_destination};
use super::working::Working;
use crate::stream::{ReturnMessage, ReturnReader, StreamError};
use crate::thread;

/// Passes on the destination's messages on a thread of its own, and watches over the destination.
///
/// It outlives a failure of the other connections for a moment: the destination breaks them, too,
/// when it refuses the guest, and says why here.
pub(super) struct ReturnPath {
    ended: queue::Receiver<Ended>,
    interrupter: Arc<dyn Interrupt>,
}

/// How the return path has ended.
pub(super) struct Ended {
    /// The error is the destination's, or that the source cannot be told something.
    pub(super) outcome: Result<(), Error>,
    /// The main connection, to say something to the source.
    pub(super) to_source: Box<dyn Transport>,
}

/// What the destination has to do.
pub(super) struct Work {
    pub(super) backlog: Backlog,
    pub(super) outgoing: Monitor,
    /// How long it may do none of it.
    pub(super) limits: Limits,
    pub(super) handle: RelayHandle,
}

/// The connections, and what has to be woken up.
pub(super) struct Ways {
    pub(super) from_destination: Box<dyn Transport>,
    pub(super) to_source: Box<dyn Transport>,
    /// Wakes up the thread of the main stream.
    pub(super) main_stream: Arc<dyn Interrupt>,
    pub(super) abort: AbortHandle,
}

impl ReturnPath {
    pub(super) fn start(
        mut ways: Ways,
        link: Arc<Link>,
        work: Work,
        threads: &Arc<dyn Spawn>,
    ) -> Result<Self, Error> {
        let interrupter = ways.from_destination.interrupter();
        let tick = (work.limits.destination / 4).clamp(SHORTEST_TICK, LONGEST_TICK);
        ways.from_destination.set_time_limit(Some(tick));
        ways.to_source.set_time_limit(Some(work.limits.reply));
        let (send_ended, ended) = queue::bounded(1);
        let body = move |ready: Result<(), Error>| {
            let mut listener = Listener {
                reader: ReturnReader::new(ways.from_destination),
                to_source: ways.to_source,
                link,
                stall: Stall::new(work.limits.destination),
                silence: Stall::new(work.limits.devices.max(work.limits.confirm)),
                working: Working::new(work.limits.work),
                abort: ways.abort,
                work,
            };
            let outcome = ready.and_then(|()| listener.run());
            match &outcome {
                Ok(()) if listener.link.confirmed().is_some() => ways.main_stream.interrupt(),
                Err(error) => listener.abort.fail(error.clone()),
                Ok(()) => {}
            }
            let Listener {
                reader, to_source, ..
            } = listener;
            // This end is closed before anybody believes that all is over.
            drop(reader);
            // Fails only if nobody waits any more.
            let _ = send_ended.send(Ended { outcome, to_source });
        };
        thread::start(threads, ThreadKind::ReturnPath, body)?;
        Ok(Self { ended, interrupter })
    }

    /// Waits for what the destination still has to say, for `patience` at most, and ends.
    pub(super) fn end(self, patience: Duration) -> Option<Ended> {
        let ended = self.ended.recv_timeout(patience);
        self.interrupter.interrupt();
        ended.or_else(|_| self.ended.recv()).ok()
    }
}

impl Drop for ReturnPath {
    fn drop(&mut self) {
        self.interrupter.interrupt();
    }
}

/// The thread's part.
struct Listener {
    reader: ReturnReader,
    to_source: Box<dyn Transport>,
    link: Arc<Link>,
    abort: AbortHandle,
    work: Work,
    /// Watches how many bytes the destination has taken.
    stall: Stall,
    /// Watches what moves behind the end of RAM.
    silence: Stall,
    /// What the destination says that it does there.
    working: Working,
}

impl Listener {
    /// Passes on up to the last message, behind which both sides are done.
    fn run(&mut self) -> Result<(), Error> {
        while self.link.confirmed().is_none() {
            match self.reader.next_message() {
                Ok(Some(message)) => self.pass_on(message)?,
                Ok(None) => return self.closed(),
                Err(StreamError::Receive { error, .. })
                    if error.kind() == io::ErrorKind::TimedOut => {}
                // The other thread is done.
                Err(error) if error.fault() == Fault::Aborted => return Ok(()),
                Err(error) => return Err(to_destination(error.into())),
            }
            self.work.handle.sample();
            self.watch_source()?;
            self.watch()?;
            self.watch_end()?;
        }
        Ok(())
    }

    fn pass_on(&mut self, message: ReturnMessage) -> Result<(), Error> {
        if message == ReturnMessage::Shut(0) && !self.link.is_ram_complete() {
            let what = "the destination confirmed before everything was sent";
            return Err(to_destination(Error::new(Fault::Peer, what)));
        }
        // Before the source hears it, and does what follows.
        self.link.hear(message);
        self.working.hear(message);
        if let Some(work) = self.working.last() {
            self.work.handle.set_destination(work);
        }
        match message {
            ReturnMessage::Shut(0) => {
                self.confirm(message)?;
                self.link.set_shut();
                Ok(())
            }
            ReturnMessage::Shut(code) => Err(self.refuse(message, code)),
            message if self.link.is_last(message) => self.confirm(message),
            _ => self.tell(message).map_err(|error| {
                let what = format!("cannot pass on {}: {error}", message.id());
                from_source(Error::new(Fault::Connection, what))
            }),
        }
    }

    fn tell(&mut self, message: ReturnMessage) -> io::Result<()> {
        let bytes = message.encode();
        send_all(&mut *self.to_source, &mut [bytes.as_slice().into()])
    }

    /// The destination has everything, or runs the guest.
    fn confirm(&mut self, message: ReturnMessage) -> Result<(), Error> {
        let is_last = self.link.is_last(message);
        self.tell(message).map_err(|error| {
            let what = match (is_last, message) {
                (false, _) => "the destination has everything, but the source could not be told",
                (true, ReturnMessage::Shut(_)) => {
                    "the destination has the guest, but the source could not be told, and may run it, \
                     too"
                }
                (true, _) => {
                    "the destination has the guest, but the source, which has given it up, could not be told \
                     so"
                }
            };
            from_source(Error::new(Fault::Connection, format!("{what}: {error}")))
        })?;
        if is_last {
            self.link.set_confirmed();
        }
        Ok(())
    }

    /// The destination has not got the guest. The source closes its connections when it hears that, so
    /// this is noted first.
    fn refuse(&mut self, message: ReturnMessage, code: u32) -> Error {
        let what = match self.link.is_released() {
            true => "has all of the guest but could not start it",
            false => "could not take the guest",
        };
        let what = format!("the destination {what} (SHUT {code}): see its own log for the reason");
        let error = to_destination(Error::new(Fault::Peer, what));
        self.abort.fail(error.clone());
        if self.tell(message).is_ok() {
            self.link.set_shut();
        }
        error
    }

    /// The destination has closed the connection.
    fn closed(&self) -> Result<(), Error> {
        let link = &self.link;
        if link.is_ram_complete() && !link.has_return_path() {
            return Ok(());
        }
        let when = match (link.has_return_path(), link.is_shut()) {
            (false, _) => "",
            (true, false) => " without confirming",
            (true, true) if link.is_released() => " without saying that it runs the guest",
            (true, true) => " before the source has given the guest up",
        };
        let what = format!("the destination closed the main connection{when}");
        Err(to_destination(Error::new(Fault::Connection, what)))
    }

    /// Gives up a source that has gone while the thread of the main stream waits for the destination to take the end
    /// of the stream.
    fn watch_source(&mut self) -> Result<(), Error> {
        let link = &self.link;
        if !link.is_ram_complete() || !link.has_return_path() || link.is_whole() {
            return Ok(());
        }
        self.reader.set_time_limit(SHORTEST_TICK);
        match self.to_source.has_ended() {
            true => Err(source_is_gone()),
            false => Ok(()),
        }
    }

    /// Gives up a destination that does nothing.
    fn watch(&mut self) -> Result<(), Error> {
        let makes_memory = self.link.is_making_memory();
        let limit = match makes_memory {
            true => self.work.limits.memory,
            false => self.work.limits.destination,
        };
        let unanswered = self.link.unanswered();
        if unanswered.is_some_and(|time| time > limit) {
            return Err(self.silent("the destination has not answered a PING", limit));
        }
        let taken = self.work.outgoing.wire_bytes() + self.link.main_bytes();
        let idle = self.work.backlog.packets() == 0 && !self.link.is_main_busy();
        if idle || makes_memory {
            self.stall.restart();
        }
        if self.stall.left(taken).is_none() {
            return Err(self.silent("the destination has read nothing", limit));
        }
        Ok(())
    }

    /// Gives up two sides that behind the end of RAM both say nothing: whether the source has more to say, a relay
    /// cannot know. A destination that works says so.
    fn watch_end(&mut self) -> Result<(), Error> {
        let link = &self.link;
        let is_busy = self.work.backlog.packets() > 0 || link.is_main_busy();
        if !link.is_ram_complete() || is_busy {
            self.silence.restart();
        }
        let passed_on = link.main_bytes() + self.work.outgoing.wire_bytes();
        let heard = self.working.words() + u64::from(link.is_shut());
        if self.silence.left(passed_on + heard).is_some() {
            return Ok(());
        }
        Err(self.ends_not())
    }

    /// The error of a migration that does not come to its end.
    fn ends_not(&self) -> Error {
        let link = &self.link;
        let limit = self.silence.limit();
        let (place, what): (fn(Error) -> Error, _) = match (
            link.is_released(),
            link.waits_for_release(),
            self.working.explain(),
        ) {
            (true, ..) => (
                to_destination,
                "the destination was told to run the guest, and has not answered".into(),
            ),
            (_, true, _) => (
                from_source,
                "the destination has everything, but the source has not given the guest up".into(),
            ),
            (.., Some(what)) => (to_destination, what),
            (.., None) => (
                from_source,
                "behind the end of memory the source has sent nothing, nor has the destination said that it \
                 has everything,".into(),
            ),
        };
        let what = format!("{what} for {} s", limit.as_secs_f32());
        place(Error::new(Fault::Connection, what))
    }

    fn silent(&self, what: &str, limit: Duration) -> Error {
        let channels = self.work.outgoing.stats().channels.len();
        let seconds = limit.as_secs_f32();
        let what = format!(
            "{what} for {seconds} s: it may wait for more connections than the {channels} channels \
             that it has got; is multifd on there, and multifd-channels {channels}?"
        );
        to_destination(Error::new(Fault::Connection, what))
    }
}

const SHORTEST_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_millis(500);
