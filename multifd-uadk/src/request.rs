// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Requests to the library: a page each, several at a time.
//!
//! A request is *queued*: the library gives it to the device and returns, and whoever polls later makes it call
//! [`done`]. Polling is for all sessions of the process, so a request may be done on another channel's thread.
//! Where an administrator has left the library no queues for that (its variable `WD_COMP_CTX_NUM`), a request is
//! *waited for* in the call that makes it, and so there is one at a time.

#![allow(
    unsafe_code,
    reason = "a C library is called, which is given pointers to the memory that a device works in"
)]

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multifd_core::method::Fallback;

use crate::abi;
use crate::process::Driver;

/// What requests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// From pages to zlib streams.
    Compress,
    /// From zlib streams to pages.
    Decompress,
}

/// How the library is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Queued,
    WaitedFor,
}

/// A session of the library, with the memory of as many requests as there may be at a time. It owns all memory that
/// the device works in: none of it is freed or handed out before its request is done. If one is never done,
/// all of it stays for ever.
#[derive(Debug)]
pub(crate) struct Requests {
    driver: Driver,
    handle: abi::Handle,
    operation: Operation,
    way: Way,
    slots: Vec<Slot>,
    /// How long a request may take.
    limit: Duration,
    /// Whether the device did not finish a request. It may still work in the memory, so nothing more is asked of it.
    is_abandoned: bool,
}

/// The memory of a request.
#[derive(Debug)]
struct Slot {
    input: Vec<u8>,
    output: Vec<u8>,
    answer: Arc<Answer>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was asked, or what came of it has been told.
    Idle,
    /// From a request that was accepted until the library says that it is done.
    AtWork,
    /// So many bytes are in the output, as the library says.
    Done(Result<usize, Fallback>),
}

/// Where [`done`] leaves what came of a queued request.
#[derive(Debug, Default)]
struct Answer {
    is_done: AtomicBool,
    status: AtomicU32,
    len: AtomicU32,
}

impl Requests {
    /// A session with so many slots, which take inputs of up to `input` bytes and have room for `output`; `None` if
    /// the device or the library has none left.
    pub(crate) fn new(
        driver: &Driver,
        operation: Operation,
        (slots, way): (usize, Way),
        (input, output): (usize, usize),
        limit: Duration,
    ) -> Option<Self> {
        let mut scheduling = abi::Scheduling::new(operation.number(), way == Way::Queued);
        let mut setup = abi::SessionSetup::new(operation.number().into(), &mut scheduling);
        // SAFETY: the state is open while there is a driver. The setup and what it points to live over
        // the call, which keeps neither; both are as large as those of every known version, and more.
        let handle = unsafe { (driver.functions().alloc)(&raw mut setup) };
        let slot = |_| Slot {
            input: vec![0; input],
            // Written to, so that it is mapped before the device writes to it.
            output: vec![0xff; output],
            answer: Arc::default(),
            state: State::Idle,
        };
        (handle != 0).then(|| Self {
            driver: driver.clone(),
            handle,
            operation,
            way,
            slots: (0..slots).map(slot).collect(),
            limit,
            is_abandoned: false,
        })
    }

    /// Has the device work on `source`, and does not wait for it unless the library does. Where the library has no
    /// room, the oldest request is waited for.
    ///
    /// # Errors
    /// Why it does not. After [`Fallback::NoDevice`] it never will; after [`Fallback::Busy`] others have all room.
    pub(crate) fn submit(&mut self, slot: usize, source: &[u8]) -> Result<(), Fallback> {
        self.settle(slot)?;
        loop {
            match self.offer(slot, source) {
                Err(Fallback::Busy) => {}
                result => return result,
            }
            let oldest = self.oldest(slot).ok_or(Fallback::Busy)?;
            self.settle(oldest)?;
        }
    }

    /// The request that has been at work for longest, if they were made slot by slot and the next one is for `slot`.
    fn oldest(&self, slot: usize) -> Option<usize> {
        let (newer, older) = self.slots.split_at_checked(slot)?;
        (slot..)
            .zip(older)
            .chain((0..).zip(newer))
            .find(|(_, slot)| slot.state == State::AtWork)
            .map(|(number, _)| number)
    }

    /// Waits for what was submitted, and returns what the device made of it.
    ///
    /// # Errors
    /// Why it did not; also if nothing was submitted.
    pub(crate) fn wait(&mut self, slot: usize) -> Result<&[u8], Fallback> {
        self.settle(slot)?;
        let slot = self.slots.get_mut(slot).ok_or(Fallback::Failed)?;
        match mem::replace(&mut slot.state, State::Idle) {
            // Nothing is believed of a library: a length beyond the room is none.
            State::Done(made) => slot.output.get(..made?).ok_or(Fallback::Failed),
            _ => Err(Fallback::Failed),
        }
    }

    /// Makes one request.
    fn offer(&mut self, slot: usize, source: &[u8]) -> Result<(), Fallback> {
        let (operation, way, handle) = (self.operation, self.way, self.handle);
        let slot = self.slots.get_mut(slot).ok_or(Fallback::Failed)?;
        let mut request = slot.request(operation, way, source)?;
        let functions = self.driver.functions();
        // SAFETY: the session is this one's, allocated and not freed, and borrowed exclusively. Both
        // pointers come with the lengths of the buffers behind them, which no other request has, since the slot is
        // not at work. The device may go on with them after the call: a slot that is at work is not touched, and
        // `is_abandoned` keeps all of them for ever, with what `done` writes to. The request itself is copied.
        let code = unsafe {
            match way {
                Way::Queued => (functions.queue)(handle, &raw mut request),
                Way::WaitedFor => (functions.sync)(handle, &raw mut request),
            }
        };
        match (code.wrapping_neg(), way) {
            (0, Way::Queued) => slot.state = State::AtWork,
            (0, Way::WaitedFor) => {
                slot.state = State::Done(made(request.status, request.target_len))
            }
            (abi::EBUSY, _) => return Err(Fallback::Busy),
            // It has no queues for this way: nothing was sent.
            (abi::EINVAL, Way::Queued) => return Err(Fallback::Unsupported),
            (code, _) => {
                self.is_abandoned = true;
                return Err(given_up(code));
            }
        }
        Ok(())
    }

    /// Waits for a slot's request, if it is at work; what came of it is kept.
    fn settle(&mut self, slot: usize) -> Result<(), Fallback> {
        if self.is_abandoned {
            return Err(Fallback::NoDevice);
        }
        let Some(Slot { answer, state, .. }) = self.slots.get_mut(slot) else {
            return Err(Fallback::Failed);
        };
        let start = Instant::now();
        while *state == State::AtWork {
            // Before the look that decides: this thread may have stood still meanwhile, and not the device.
            let is_late = start.elapsed() > self.limit;
            let polled = match answer.made() {
                Some(_) => Ok(()),
                None if is_late => self.driver.poll(ALL),
                None => self.driver.poll(1),
            };
            if let Some(made) = answer.made() {
                *state = State::Done(made);
            } else if let Some(code) = polled.err().or(is_late.then_some(abi::ETIMEDOUT)) {
                self.is_abandoned = true;
                return Err(given_up(code));
            }
        }
        Ok(())
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let is_settled = (0..self.slots.len()).all(|slot| self.settle(slot).is_ok());
        if is_settled {
            // SAFETY: the handle is this session's and is freed only here, without a request; the state is open,
            // since the driver is dropped after this.
            unsafe { (self.driver.functions().free)(self.handle) };
        } else {
            // The device may still work in the buffers, and the library call `done` for them.
            mem::forget(mem::take(&mut self.slots));
            // One user more than there are: the state stays open.
            mem::forget(self.driver.clone());
        }
    }
}

impl Slot {
    /// A request for `source`, which is copied to where the device reads it.
    fn request(
        &mut self,
        operation: Operation,
        way: Way,
        source: &[u8],
    ) -> Result<abi::Request, Fallback> {
        let too_long = |_| Fallback::Unsupported;
        let input = self.input.get_mut(..source.len());
        let input = input.ok_or(Fallback::Unsupported)?;
        input.copy_from_slice(source);
        self.answer.is_done.store(false, Ordering::Relaxed);
        self.state = State::Idle;
        let (callback, argument) = match way {
            Way::Queued => (Some(done as abi::Callback), Arc::as_ptr(&self.answer)),
            Way::WaitedFor => (None, ptr::null()),
        };
        Ok(abi::Request {
            source: input.as_mut_ptr().cast(),
            source_len: input.len().try_into().map_err(too_long)?,
            target: self.output.as_mut_ptr().cast(),
            target_len: self.output.len().try_into().map_err(too_long)?,
            callback,
            callback_argument: argument.cast_mut().cast(),
            operation: operation.number().into(),
            buffers: abi::FLAT,
            last: 1,
            status: 0,
            private: ptr::null_mut(),
        })
    }
}

impl Answer {
    /// What came of the request, once it is done.
    fn made(&self) -> Option<Result<usize, Fallback>> {
        if !self.is_done.load(Ordering::Acquire) {
            return None;
        }
        let status = self.status.load(Ordering::Relaxed);
        Some(made(status, self.len.load(Ordering::Relaxed)))
    }
}

impl Operation {
    fn number(self) -> u8 {
        match self {
            Self::Compress => abi::COMPRESS,
            Self::Decompress => abi::DECOMPRESS,
        }
    }
}

/// What the library calls, on the thread of whoever polls, for a queued request that is done.
///
/// # Safety
/// `request` is the library's copy of a request of [`Slot::request`], and `answer` is what that has for it.
unsafe extern "C" fn done(request: *mut abi::Request, answer: *mut c_void) -> *mut c_void {
    // SAFETY: the library lends its copy for the call. The answer is a slot's, which lives until the slot's request
    // is settled, and for ever if it never is; it is only ever shared.
    let (request, answer) = unsafe { (&*request, &*answer.cast::<Answer>()) };
    answer.status.store(request.status, Ordering::Relaxed);
    answer.len.store(request.target_len, Ordering::Relaxed);
    answer.is_done.store(true, Ordering::Release);
    ptr::null_mut()
}

/// What came of a request that is done. `status` is what the device said.
fn made(status: u32, len: u32) -> Result<usize, Fallback> {
    match status {
        0 | abi::STATUS_STREAM_END => usize::try_from(len).map_err(|_| Fallback::Failed),
        abi::STATUS_TARGET => Err(Fallback::NoRoom),
        _ => Err(Fallback::Failed),
    }
}

/// Why the device is not asked any more after this error.
fn given_up(code: c_int) -> Fallback {
    match code {
        abi::ENODEV | abi::HARDWARE_DENIED | abi::ETIMEDOUT => Fallback::NoDevice,
        _ => Fallback::Failed,
    }
}

/// As many requests as the library has room for in a queue.
const ALL: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_reasons() {
        assert_eq!(made(0, 7), Ok(7));
        assert_eq!(made(1, 7), Ok(7));
        assert_eq!(made(66, 7), Err(Fallback::NoRoom));
        assert_eq!(made(67, 7), Err(Fallback::Failed));
        for code in [19, 62, 110] {
            assert_eq!(given_up(code), Fallback::NoDevice);
        }
        for code in [-1, 5, 22] {
            assert_eq!(given_up(code), Fallback::Failed);
        }
    }
}
