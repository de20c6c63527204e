// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! UADK's library in use: opened once, for all channels of the process.
//!
//! `libwd_comp` has one state per process, which `wd_comp_init2_` opens and `wd_comp_uninit2` closes
//! for everybody. A [`Process`] counts who uses it: the first [`Driver`] opens it, the last one closes
//! it, and whoever has a session holds a driver of their own. So every session is freed before the state is closed,
//! whatever is dropped first.

#![allow(unsafe_code, reason = "calls the library's functions")]

use std::ffi::c_int;
use std::hint;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

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
    /// Held by whoever polls.
    polling: Mutex<()>,
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

    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Has the library look for up to `most` queued requests that are done, and tell whoever made them. A queue is for one thread
    /// at a time to look at, so while another one does this returns at once: nobody waits for the lock.
    ///
    /// # Errors
    /// The library's, above 0.
    pub(crate) fn poll(&self, most: u32) -> Result<(), c_int> {
        let _alone = match self.process.0.polling.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => {
                hint::spin_loop();
                return Ok(());
            }
        };
        let mut count = 0;
        // SAFETY: the state is open, since there is this driver. The count lives over the call, which does not keep it.
        let code = unsafe { (self.functions.poll)(most, &raw mut count) };
        match code.wrapping_neg() {
            0 | abi::EAGAIN => Ok(()),
            code => Err(code),
        }
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
