// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a migration's threads learn that it is over, and why.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel as queue;
use parking_lot::Mutex;

use crate::error::Error;
use crate::transport::Interrupt;

/// Aborts a migration from any thread, in any state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AbortHandle(Arc<Control>);

impl AbortHandle {
    /// Aborts: every blocked and every later call of the migration fails. Returns at once; the
    /// threads end by themselves. After the end of the migration it does nothing.
    pub fn abort(&self) {
        self.0.fail(Error::aborted());
    }

    /// Fails the migration with an error, unless it has one already: the first error wins.
    pub fn fail(&self, error: Error) {
        self.0.fail(error);
    }

    /// Interrupts a connection, too, when the migration is aborted or fails: the main channel's.
    pub fn watch(&self, interrupter: Arc<dyn Interrupt>) {
        self.0.watch(interrupter);
    }

    /// Blocks for `time`, or until the migration is over.
    ///
    /// # Errors
    /// Why the migration failed, if it did.
    pub fn sleep(&self, time: Duration) -> Result<(), Error> {
        let _ = self.0.woken().recv_timeout(time);
        self.0.check()
    }

    /// Why the migration failed, if it did.
    pub fn error(&self) -> Option<Error> {
        self.0.error()
    }
}

/// The shared end of a migration: its first error, and what has to be woken up.
pub(crate) struct Control {
    course: Mutex<Course>,
    over: Gate,
}

/// What is known of a migration, and what its end has to interrupt.
struct Course {
    end: Option<End>,
    interrupters: Vec<Arc<dyn Interrupt>>,
}

#[derive(Clone)]
enum End {
    Finished,
    Failed(Error),
}

impl Control {
    pub(crate) fn new() -> Arc<Self> {
        let course = Course {
            end: None,
            interrupters: Vec::new(),
        };
        Arc::new(Self {
            course: Mutex::new(course),
            over: Gate::new(),
        })
    }

    pub(crate) fn handle(self: &Arc<Self>) -> AbortHandle {
        AbortHandle(Arc::clone(self))
    }

    /// Ends the migration with an error. An error of a running migration wins over its abort only
    /// if it comes first.
    pub(crate) fn fail(&self, error: Error) {
        // Whoever runs the migration is answered it, and says so as it likes.
        if self.end(End::Failed(error.clone())) {
            log::debug!("{error}");
        }
    }

    /// Ends the migration without one.
    pub(crate) fn finish(&self) {
        self.end(End::Finished);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.course.lock().end.is_some()
    }

    pub(crate) fn error(&self) -> Option<Error> {
        match &self.course.lock().end {
            Some(End::Failed(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Returns the error of a migration that failed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.error().map_or(Ok(()), Err)
    }

    /// The first error; that of an abort if there is none, for a caller who was woken up.
    pub(crate) fn reason(&self) -> Error {
        self.error().unwrap_or_else(Error::aborted)
    }

    /// Closed once the migration is over: to be selected on beside every queue.
    pub(crate) fn woken(&self) -> &queue::Receiver<Infallible> {
        self.over.opened()
    }

    pub(crate) fn watch(&self, interrupter: Arc<dyn Interrupt>) {
        let mut course = self.course.lock();
        if course.end.is_none() {
            course.interrupters.push(interrupter);
            return;
        }
        drop(course);
        interrupter.interrupt();
    }

    /// Interrupts this connection no more: it is closed.
    pub(crate) fn forget(&self, interrupter: &Arc<dyn Interrupt>) {
        let mut course = self.course.lock();
        course
            .interrupters
            .retain(|watched| !std::ptr::addr_eq(Arc::as_ptr(watched), Arc::as_ptr(interrupter)));
    }

    /// Returns whether the migration was still running. Whoever asks for the end gets an answer only
    /// when every connection has been interrupted: from then on it may resume one.
    fn end(&self, end: End) -> bool {
        let mut course = self.course.lock();
        if course.end.is_some() {
            return false;
        }
        course.end = Some(end);
        self.over.open();
        for interrupter in std::mem::take(&mut course.interrupters) {
            interrupter.interrupt();
        }
        true
    }
}

/// An event that happens once, for many who wait.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Nothing is ever sent: dropping it is what opens the gate.
    closed: Mutex<Option<queue::Sender<Infallible>>>,
    opened: queue::Receiver<Infallible>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        // Waiting for one without a buffer would allocate each time.
        let (closed, opened) = queue::bounded(1);
        Self {
            closed: Mutex::new(Some(closed)),
            opened,
        }
    }

    pub(crate) fn open(&self) {
        *self.closed.lock() = None;
    }

    /// Closed once the gate is open: to be selected on.
    pub(crate) fn opened(&self) -> &queue::Receiver<Infallible> {
        &self.opened
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.course.lock().end.clone();
        f.write_str(match end {
            None => "running",
            Some(End::Finished) => "finished",
            Some(End::Failed(_)) => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::error::Fault;

    struct Slow(AtomicBool);

    impl Interrupt for Slow {
        fn interrupt(&self) {
            thread::sleep(Duration::from_millis(20));
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn everything_is_interrupted_before_anybody_knows() {
        let control = Control::new();
        let slow = Arc::new(Slow(false.into()));
        control.watch(Arc::clone(&slow) as _);
        let waiting = thread::spawn({
            let control = Arc::clone(&control);
            move || {
                control.woken().recv().unwrap_err();
                control.check().unwrap_err();
                slow.0.load(Ordering::Acquire)
            }
        });
        control.fail(Error::aborted());
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn the_first_error_wins() {
        let control = Control::new();
        control.fail(Error::new(Fault::Peer, "first"));
        control.fail(Error::new(Fault::Peer, "second"));
        control.finish();
        control.handle().abort();
        assert_eq!(control.reason().to_string(), "first");
        assert!(control.woken().recv().is_err());
    }
}
