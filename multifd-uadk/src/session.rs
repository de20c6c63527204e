//! UADK's library in use: opened once, and a session per channel.
//!
//! `libwd_comp` has one state per process, which `wd_comp_init2_` opens and `wd_comp_uninit2` closes
//! for everybody. A [`Process`] counts who uses it: the first [`Driver`] opens it, the last one closes
//! it, and a [`Session`] holds a driver of its own. So every session is freed before the state is
//! closed, whatever is dropped first.

#![allow(
    unsafe_code,
    reason = "a C library is called, which is given pointers to the memory it works in"
)]

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use multifd_core::method::Fallback;

use crate::abi;
use crate::library::{Functions, LIBRARY, Missing};

/// The library's state in this process. Nobody holds the lock while it is opened or closed: who comes meanwhile
/// waits for the end of that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// It has been opened or closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    /// Somebody opens or closes it.
    Changing,
    Open(Open),
}

impl Process {
    /// The library at `location`: a folder, a file, or `None` for where the system looks. It is
    /// opened unless it is open already.
    ///
    /// # Errors
    /// There is no such library, it is of another kind, somebody else in this process uses it, or it
    /// finds no device.
    pub(crate) fn driver(&self, location: Option<&Path>) -> Result<Driver, Unusable> {
        let mut state = self.settled();
        if let State::Open(open) = &mut *state {
            if open.location.as_deref() != location {
                return Err(Unusable::InUse);
            }
            open.users += 1;
            return Ok(Driver {
                process: self.clone(),
                functions: open.functions.clone(),
            });
        }
        let change = self.change(&mut state);
        drop(state);
        let functions = Functions::load(location)?;
        open_state(&functions)?;
        change.end(State::Open(Open {
            functions: functions.clone(),
            location: location.map(Path::to_owned),
            users: 1,
        }));
        Ok(Driver {
            process: self.clone(),
            functions,
        })
    }

    /// The state, when nobody changes it.
    fn settled(&self) -> MutexGuard<'_, State> {
        let changing = |state: &mut State| matches!(state, State::Changing);
        let state = self.0.changed.wait_while(self.lock(), changing);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, state: &mut State) -> Change<'_> {
        *state = State::Changing;
        Change(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the value is one assignment: a panic leaves it whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to open or close the state. Dropped, it leaves it closed.
struct Change<'p>(&'p Process);

impl Change<'_> {
    fn end(self, state: State) {
        *self.0.lock() = state;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::Changing) {
            *state = State::Closed;
        }
        drop(state);
        self.0.0.changed.notify_all();
    }
}

/// The state while it is open.
#[derive(Debug)]
struct Open {
    functions: Functions,
    location: Option<PathBuf>,
    /// How many drivers there are.
    users: usize,
}

/// The right to use the library's open state.
#[derive(Debug)]
pub(crate) struct Driver {
    process: Process,
    functions: Functions,
}

impl Driver {
    /// The library's file.
    pub(crate) fn file(&self) -> &str {
        &self.functions.file
    }
}

impl Clone for Driver {
    fn clone(&self) -> Self {
        if let State::Open(open) = &mut *self.process.lock() {
            open.users += 1;
        }
        Self {
            process: self.process.clone(),
            functions: self.functions.clone(),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut state = self.process.lock();
        let State::Open(open) = &mut *state else {
            return;
        };
        open.users -= 1;
        if open.users > 0 {
            return;
        }
        let change = self.process.change(&mut state);
        drop(state);
        // SAFETY: the state is open, since this driver was one of its users; and no session is
        // left, since each has a driver, and this was the last one. Who wants to open it waits for `change`.
        unsafe { (self.functions.uninit)() };
        change.end(State::Closed);
    }
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// From pages to zlib streams.
    Compress,
    /// From zlib streams to pages.
    Decompress,
}

impl Operation {
    fn number(self) -> u8 {
        match self {
            Self::Compress => abi::COMPRESS,
            Self::Decompress => abi::DECOMPRESS,
        }
    }
}

/// One channel's way to the device, with the memory that the device works in.
#[derive(Debug)]
pub(crate) struct Session {
    driver: Driver,
    handle: abi::Handle,
    operation: Operation,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Whether the device did not finish a request. It may still work in the memory, so nothing that
    /// it was given is ever freed, and nothing more is asked of it.
    abandoned: bool,
}

impl Session {
    /// A session that takes inputs of up to `input` bytes and has room for `output`; `None` if the
    /// device or the library has none left.
    pub(crate) fn new(
        driver: &Driver,
        operation: Operation,
        input: usize,
        output: usize,
    ) -> Option<Self> {
        let mut scheduling = abi::Scheduling::new(operation.number());
        let mut setup = abi::SessionSetup::new(operation.number().into(), &mut scheduling);
        // SAFETY: the state is open while there is a driver. The setup and what it points to live over
        // the call, which keeps neither; both are as large as those of every known version, and more.
        let handle = unsafe { (driver.functions.alloc)(&raw mut setup) };
        (handle != 0).then(|| Self {
            driver: driver.clone(),
            handle,
            operation,
            input: vec![0; input],
            // Written to, so that it is mapped before the device writes to it.
            output: vec![0xff; output],
            abandoned: false,
        })
    }

    /// Has the device work on `source`, and answers what it made of it.
    ///
    /// # Errors
    /// Why it did not. After [`Fallback::NoDevice`] it never will.
    pub(crate) fn run(&mut self, source: &[u8]) -> Result<&[u8], Fallback> {
        let made = self.offer(source)?;
        self.output.get(..made).ok_or(Fallback::Failed)
    }

    /// As [`Self::run`], but a device that is busy is waited for, for no longer than `limit`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn run_patiently(
        &mut self,
        source: &[u8],
        limit: Duration,
    ) -> Result<&[u8], Fallback> {
        let start = Instant::now();
        let made = loop {
            match self.offer(source) {
                Err(Fallback::Busy) if start.elapsed() < limit => std::hint::spin_loop(),
                result => break result?,
            }
        };
        self.output.get(..made).ok_or(Fallback::Failed)
    }

    /// One request; returns how many bytes of output it made, as the library says.
    fn offer(&mut self, source: &[u8]) -> Result<usize, Fallback> {
        if self.abandoned {
            return Err(Fallback::NoDevice);
        }
        let input = self
            .input
            .get_mut(..source.len())
            .ok_or(Fallback::Unsupported)?;
        input.copy_from_slice(source);
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| Fallback::Unsupported);
        let mut request = abi::Request {
            source: input.as_mut_ptr().cast(),
            source_len: length(input.len())?,
            target: self.output.as_mut_ptr().cast(),
            target_len: length(self.output.len())?,
            callback: std::ptr::null_mut(),
            callback_argument: std::ptr::null_mut(),
            operation: self.operation.number().into(),
            buffers: abi::FLAT,
            last: 1,
            status: 0,
            private: std::ptr::null_mut(),
        };
        // SAFETY: the session is this one's, allocated and not freed, and borrowed exclusively. Both
        // pointers come with the lengths of the buffers behind them. The device may go on with them
        // after the call only if it did not finish: then `abandoned` keeps them for ever.
        let code = unsafe { (self.driver.functions.sync)(self.handle, &raw mut request) };
        self.abandoned = code != 0 && code != -abi::EBUSY;
        outcome(code, request.status)?;
        // Nothing is believed of a library: a length beyond the room is none.
        usize::try_from(request.target_len).map_err(|_| Fallback::Failed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.abandoned {
            std::mem::forget(std::mem::take(&mut self.input));
            std::mem::forget(std::mem::take(&mut self.output));
            // One user more than there are: the state stays open.
            std::mem::forget(self.driver.clone());
        } else {
            // SAFETY: the handle is this session's and is freed only here; the state is open, since the
            // driver is dropped after this.
            unsafe { (self.driver.functions.free)(self.handle) };
        }
    }
}

/// What a request came to. `code` is what the call answered, `status` what the device said.
fn outcome(code: c_int, status: u32) -> Result<(), Fallback> {
    match (code.wrapping_neg(), status) {
        (0, 0 | abi::STATUS_STREAM_END) => Ok(()),
        (0, abi::STATUS_TARGET) => Err(Fallback::NoRoom),
        (abi::EBUSY, _) => Err(Fallback::Busy),
        (abi::ENODEV | abi::HARDWARE_DENIED | abi::ETIMEDOUT, _) => Err(Fallback::NoDevice),
        _ => Err(Fallback::Failed),
    }
}

/// Opens the library's state, which is closed.
fn open_state(functions: &Functions) -> Result<(), Unusable> {
    let mut algorithm = abi::ALGORITHM;
    // SAFETY: the text ends in 0 and lives over the call, and no context parameters are a legal choice.
    // A state that somebody else has opened is refused by the library itself.
    let code = unsafe {
        (functions.init)(
            algorithm.as_mut_ptr().cast(),
            abi::SCHEDULER_ROUND_ROBIN,
            abi::TASK_HARDWARE,
            std::ptr::null_mut(),
        )
    };
    match code.wrapping_neg() {
        0 => Ok(()),
        abi::EEXIST => Err(Unusable::InUse),
        code => Err(Unusable::Init { code }),
    }
}

/// Why the device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("{LIBRARY} is used by another part of this process")]
    InUse,
    #[error("{LIBRARY} finds no usable device, error {code}")]
    Init { code: c_int },
    #[error("{LIBRARY} gives no session")]
    NoSession,
    #[error("the device failed its trial: {what}")]
    Trial { what: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_reasons() {
        assert_eq!(outcome(0, 0), Ok(()));
        assert_eq!(outcome(0, 1), Ok(()));
        assert_eq!(outcome(0, 66), Err(Fallback::NoRoom));
        assert_eq!(outcome(0, 67), Err(Fallback::Failed));
        assert_eq!(outcome(-16, 0), Err(Fallback::Busy));
        assert_eq!(outcome(-19, 0), Err(Fallback::NoDevice));
        assert_eq!(outcome(-62, 0), Err(Fallback::NoDevice));
        assert_eq!(outcome(-110, 0), Err(Fallback::NoDevice));
        assert_eq!(outcome(-22, 0), Err(Fallback::Failed));
        assert_eq!(outcome(1, 0), Err(Fallback::Failed));
    }
}
