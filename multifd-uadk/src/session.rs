//! One channel's session of the library, and the memory that the device works in.

#![allow(
    unsafe_code,
    reason = "a C library is called, which is given pointers to the memory it works in"
)]

use std::ffi::c_int;
use std::time::{Duration, Instant};

use multifd_core::method::Fallback;

use crate::abi;
use crate::process::Driver;

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
        let handle = unsafe { (driver.functions().alloc)(&raw mut setup) };
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
        let code = unsafe { (self.driver.functions().sync)(self.handle, &raw mut request) };
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
            unsafe { (self.driver.functions().free)(self.handle) };
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
