// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A peer that has said everything beforehand, so that nobody ever waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};
use parking_lot::{Condvar, Mutex};

/// A connection on which the bytes of a script come, and then its end. What is sent is taken at once, and kept.
///
/// A piece of the script may come only at a step of some [`Progress`], and so may the end.
pub(super) struct Script {
    course: Arc<Course>,
    interrupter: Arc<Interrupter>,
    time_limit: Option<Duration>,
}

/// What to do about the order of two connections.
#[derive(Default)]
pub(super) struct Order {
    /// What the steps of the pieces are of.
    pub(super) pieces: Option<Arc<Progress>>,
    /// What has to be at its end before the end comes.
    pub(super) end: Option<Arc<Progress>>,
    /// Is told how many pieces have been used up.
    pub(super) tells: Option<Arc<Progress>>,
    /// Is told of what has been sent, by what makes a step of it.
    pub(super) tells_sent: Option<(Arc<Progress>, StepOf)>,
}

/// How far whoever has sent these bytes has come.
pub(super) type StepOf = fn(&[u8]) -> u32;

/// Bytes that come at a step.
pub(super) type Piece<'a> = (u32, &'a [u8]);

/// How far something has come: it only grows.
#[derive(Default)]
pub(super) struct Progress {
    step: Mutex<u32>,
    changed: Condvar,
}

/// All that was sent on a connection.
#[derive(Clone)]
pub(super) struct Sent(Arc<Course>);

/// What all handles of a connection share.
struct Course {
    state: Mutex<State>,
    order: Order,
}

struct State {
    /// The steps of the pieces, and where each ends in the bytes.
    pieces: Vec<(u32, usize)>,
    bytes: Vec<u8>,
    at: usize,
    sent: Vec<u8>,
}

struct Interrupter {
    interrupted: AtomicBool,
    wakes: Vec<Arc<Progress>>,
}

impl Script {
    /// A connection on which these bytes come, and then its end.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self::ordered(&[(0, bytes)], Order::default())
    }

    /// A connection on which these pieces come, each at its step.
    pub(super) fn ordered(pieces: &[Piece<'_>], order: Order) -> Self {
        let mut state = State {
            pieces: Vec::with_capacity(pieces.len()),
            bytes: Vec::new(),
            at: 0,
            sent: Vec::new(),
        };
        for (step, bytes) in pieces {
            state.bytes.extend_from_slice(bytes);
            state.pieces.push((*step, state.bytes.len()));
        }
        let state = Mutex::new(state);
        Self::handle(Arc::new(Course { state, order }))
    }

    /// What is sent on it.
    pub(super) fn sent(&self) -> Sent {
        Sent(Arc::clone(&self.course))
    }

    fn handle(course: Arc<Course>) -> Self {
        let Order { pieces, end, .. } = &course.order;
        let interrupter = Interrupter {
            interrupted: AtomicBool::new(false),
            wakes: pieces.iter().chain(end).cloned().collect(),
        };
        Self {
            course,
            interrupter: Arc::new(interrupter),
            time_limit: None,
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.interrupter.interrupted.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    /// Waits until the next byte, or the end, may come. Answers where the piece ends.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<usize> {
        let order = &self.course.order;
        let (used_up, next) = self.course.state.lock().next();
        if let Some(tells) = &order.tells {
            tells.reach(used_up);
        }
        let (progress, step, end) = match next {
            Some((step, end)) => (&order.pieces, step, end),
            None => {
                if let Some(tells) = &order.tells {
                    tells.reach(Progress::END);
                }
                (&order.end, Progress::END, usize::MAX)
            }
        };
        if let Some(progress) = progress {
            progress.wait(step, &|| self.check(), deadline)?;
        }
        Ok(end)
    }
}

impl Transport for Script {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.check()?;
        let mut state = self.course.state.lock();
        let start = state.sent.len();
        let count: usize = bytes.iter().map(IoVec::len).sum();
        state.sent.resize(start + count, 0);
        let mut at = start;
        for vec in bytes {
            at += vec.copy_to(state.sent.get_mut(at..).unwrap_or_default());
        }
        if let Some((progress, step)) = &self.course.order.tells_sent {
            progress.reach(step(&state.sent));
        }
        Ok(count)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        self.check()?;
        let deadline = self.time_limit.map(|limit| Instant::now() + limit);
        let end = self.wait(deadline)?;
        self.check()?;
        let mut state = self.course.state.lock();
        let mut count = 0;
        for vec in room {
            let from = state.at + count;
            let bytes = state.bytes.get(from..end.min(state.bytes.len()));
            count += vec.copy_from(bytes.unwrap_or_default());
        }
        state.at += count;
        Ok(count)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupter) as Arc<dyn Interrupt>
    }

    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Self::handle(Arc::clone(&self.course))))
    }

    fn resume(&mut self) {
        self.interrupter.interrupted.store(false, Ordering::Release);
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
    }
}

impl State {
    /// How many pieces are used up, and the step and the end of the next one; `None` at the end.
    fn next(&self) -> (u32, Option<(u32, usize)>) {
        let mut used_up = 0;
        for (step, end) in &self.pieces {
            if *end > self.at {
                return (used_up, Some((*step, *end)));
            }
            used_up += 1;
        }
        (used_up, None)
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        // Nobody is to wait for one that is closed.
        if let Some(tells) = &self.order.tells {
            tells.reach(Progress::END);
        }
    }
}

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.wakes.iter().for_each(|progress| progress.wake());
    }
}

impl Sent {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.state.lock().sent.clone()
    }
}

impl Progress {
    /// Behind every step.
    pub(super) const END: u32 = u32::MAX;

    pub(super) fn reach(&self, step: u32) {
        let mut reached = self.step.lock();
        *reached = step.max(*reached);
        self.changed.notify_all();
    }

    fn wake(&self) {
        let _reached = self.step.lock();
        self.changed.notify_all();
    }

    fn wait(
        &self,
        step: u32,
        check: &dyn Fn() -> io::Result<()>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let mut reached = self.step.lock();
        while *reached < step {
            check()?;
            match deadline {
                None => self.changed.wait(&mut reached),
                Some(deadline) => {
                    if self.changed.wait_until(&mut reached, deadline).timed_out() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
        Ok(())
    }
}
