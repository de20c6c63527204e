// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One direction of a connection.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Instant;

use multifd_core::memory::{IoVec, IoVecMut};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Ending, Link, Pieces};
use crate::conformance::PageSource;

/// One direction of a connection: a bounded buffer between two threads.
pub(super) struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is behind the lock.
pub(super) struct State {
    link: Link,
    buffer: VecDeque<u8>,
    random: PageSource,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) record: Vec<u8>,
    ended: Option<Ending>,
    sender_gone: bool,
    pub(super) receiver_gone: bool,
    pub(super) sender_blocked: bool,
    pub(super) receiver_blocked: bool,
}

/// What ends a wait besides the other end.
pub(super) struct Patience<'a> {
    pub(super) interrupted: &'a dyn Fn() -> bool,
    pub(super) deadline: Option<Instant>,
}

impl Pipe {
    pub(super) fn new(link: Link) -> Self {
        let seed = match (link.sends, link.receives) {
            (Pieces::Random(seed), _) | (_, Pieces::Random(seed)) => seed,
            _ => 0,
        };
        let state = State {
            buffer: VecDeque::with_capacity(link.capacity),
            link,
            random: PageSource::new(seed),
            sent: 0,
            received: 0,
            record: Vec::new(),
            ended: None,
            sender_gone: false,
            receiver_gone: false,
            sender_blocked: false,
            receiver_blocked: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Changes the state and wakes up everybody who waits for it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let answer = change(&mut state);
        self.changed.notify_all();
        answer
    }

    /// Whether the sender has closed it, and the receiver can see that.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.state.lock();
        state.link.hold.is_none()
            && (state.sender_gone
                || state
                    .ending_at(state.sent)
                    .is_some_and(|(left, _)| left == 0))
    }

    /// Waits until `wanted` answers something.
    pub(super) fn wait<T>(&self, wanted: impl Fn(&State) -> Option<T>) -> T {
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = wanted(&state) {
                return answer;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Takes bytes from the front of the list, at most as many as `scratch` has.
    pub(super) fn send(
        &self,
        bytes: &[IoVec<'_>],
        scratch: &mut [u8],
        patience: &Patience<'_>,
    ) -> io::Result<usize> {
        let wanted = bytes.iter().map(IoVec::len).sum();
        let mut state = self.state.lock();
        let room = self.blocked(&mut state, patience, State::room, |state, blocked| {
            state.sender_blocked = blocked;
        })?;
        let pieces = state.link.sends;
        let count = state.piece(pieces, room.min(wanted).min(scratch.len()));
        let mut left = count;
        for vec in bytes {
            let part = vec.copy_to(scratch.get_mut(..left).unwrap_or_default());
            let part = scratch.get(..part).unwrap_or_default();
            state.buffer.extend(part);
            if state.link.is_recorded {
                state.record.extend_from_slice(part);
            }
            left -= part.len();
        }
        state.sent += count as u64;
        self.changed.notify_all();
        Ok(count)
    }

    /// Fills the list from its front; answers 0 at the end of the stream.
    pub(super) fn recv(
        &self,
        room: &mut [IoVecMut<'_>],
        scratch: &mut [u8],
        patience: &Patience<'_>,
    ) -> io::Result<usize> {
        let wanted = room.iter().map(IoVecMut::len).sum();
        let mut state = self.state.lock();
        let ready = self.blocked(&mut state, patience, State::ready, |state, blocked| {
            state.receiver_blocked = blocked;
        })?;
        let pieces = state.link.receives;
        let count = state.piece(pieces, ready.min(wanted).min(scratch.len()));
        let mut left = count;
        for vec in room {
            let part = scratch.get_mut(..vec.len().min(left)).unwrap_or_default();
            state.buffer.read_exact(part)?;
            left -= vec.copy_from(part);
        }
        state.received += count as u64;
        self.changed.notify_all();
        Ok(count)
    }

    /// Waits until `wanted` answers something, with `mark` told meanwhile.
    fn blocked(
        &self,
        state: &mut MutexGuard<'_, State>,
        patience: &Patience<'_>,
        wanted: impl Fn(&State) -> Option<io::Result<usize>>,
        mark: impl Fn(&mut State, bool),
    ) -> io::Result<usize> {
        let result = loop {
            if (patience.interrupted)() {
                break Err(io::ErrorKind::Interrupted.into());
            }
            if let Some(answer) = wanted(state) {
                break answer;
            }
            mark(state, true);
            self.changed.notify_all();
            match patience.deadline {
                None => self.changed.wait(state),
                Some(deadline) => {
                    if self.changed.wait_until(state, deadline).timed_out() {
                        break Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        };
        mark(state, false);
        result
    }
}

impl State {
    /// Ends the connection; whatever is on its way still arrives.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ended.get_or_insert(ending);
    }

    /// Ends the connection after the first `count` bytes, or behind what has been received if that is more. What
    /// was sent behind them is lost.
    pub(super) fn cut_after(&mut self, count: u64, ending: Ending) {
        let count = count.max(self.received);
        self.link.cut = Some((count, ending));
        self.buffer.truncate(before(count, self.received));
    }

    /// Bytes after the first `count` stay on their way; `None` lets them go.
    pub(super) fn hold(&mut self, count: Option<u64>) {
        self.link.hold = count;
    }

    pub(super) fn sender_leaves(&mut self) {
        self.sender_gone = true;
    }

    pub(super) fn receiver_leaves(&mut self) {
        self.receiver_gone = true;
    }

    /// How many bytes can be sent now; `None` if the sender has to wait.
    fn room(&self) -> Option<io::Result<usize>> {
        let mut room = self.link.capacity - self.buffer.len();
        if let Some((count, error)) = self.link.send_error {
            match before(count, self.sent) {
                0 => return Some(Err(error.into())),
                left => room = room.min(left),
            }
        }
        match self.ending_at(self.sent) {
            Some((0, Ending::Eof)) => return Some(Err(io::ErrorKind::BrokenPipe.into())),
            Some((0, Ending::Reset)) => return Some(Err(io::ErrorKind::ConnectionReset.into())),
            Some((left, _)) => room = room.min(left),
            None => {}
        }
        if self.receiver_gone {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        (room > 0).then_some(Ok(room))
    }

    /// How many bytes can be received now, 0 at the end; `None` if the receiver has to wait.
    fn ready(&self) -> Option<io::Result<usize>> {
        let mut ready = self.buffer.len();
        if let Some((count, error)) = self.link.recv_error {
            match before(count, self.received) {
                0 => return Some(Err(error.into())),
                left => ready = ready.min(left),
            }
        }
        if let Some(hold) = self.link.hold {
            ready = ready.min(before(hold, self.received));
        }
        if ready > 0 {
            return Some(Ok(ready));
        }
        if !self.buffer.is_empty() {
            return None;
        }
        match self.ending_at(self.received) {
            Some((0, Ending::Eof)) => Some(Ok(0)),
            Some((0, Ending::Reset)) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            _ => self.sender_gone.then_some(Ok(0)),
        }
    }

    /// How many bytes after the first `done` the connection still carries, and how it ends then.
    fn ending_at(&self, done: u64) -> Option<(usize, Ending)> {
        if let Some(ending) = self.ended {
            return Some((before(self.sent, done), ending));
        }
        let (count, ending) = self.link.cut?;
        Some((before(count, done), ending))
    }

    /// How many of at most `limit` bytes a call takes, at least one of them.
    fn piece(&mut self, pieces: Pieces, limit: usize) -> usize {
        match pieces {
            Pieces::Whole => limit,
            Pieces::Of(size) => limit.min(size.max(1)),
            Pieces::Random(_) => {
                let scale = 1 << self.random.below(18);
                limit.min(1 + self.random.below(scale))
            }
        }
    }
}

fn before(count: u64, done: u64) -> usize {
    usize::try_from(count.saturating_sub(done)).unwrap_or(usize::MAX)
}
