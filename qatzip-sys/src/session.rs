// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A session: what compresses and decompresses on one thread.

#![allow(unsafe_code, reason = "calls the library's functions")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use crate::bindings::{DeflateParams, RawSession};
use crate::{Buffer, Code, Config, Error, Library};

/// A session of the thread that made it, in the format "gzip-ext": gzip members with QATzip's extra
/// field, from a device of at most [`Session::MEMBER_CONTENT`] bytes of content.
///
/// # What a device still does after a call
///
/// A call that succeeds has waited for its device. One that fails may have left it at work, at up to 32
/// requests: the library returns at the first that fails. The session is then *abandoned*: it is neither
/// used nor torn down any more, and the [`Buffer`]s of that call are of no more use to anybody.
pub struct Session {
    library: Library,
    params: DeflateParams,
    /// Never freed if the session is abandoned: the device's answers may still come to it.
    raw: ManuallyDrop<Box<RawSession>>,
    state: State,
    /// The library keeps data of its own for each thread.
    _not_send: PhantomData<*mut ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Usable,
    /// What the last attempt to make it usable again answered.
    Broken(Code),
    /// A device may still be at work, since a call answered this.
    Abandoned(Code),
}

impl Session {
    /// Most bytes of content in a member that a device makes.
    pub const MEMBER_CONTENT: usize = 64 * 1024;

    pub(crate) fn new(library: Library, config: Config) -> Result<Self, Error> {
        let mut session = Self {
            params: config.params(library.defaults()),
            library,
            raw: ManuallyDrop::new(Box::new(RawSession::new())),
            state: State::Usable,
            _not_send: PhantomData,
        };
        // SAFETY: the session is zeroed memory of its own, which the library expects; its address
        // does not change until it is closed.
        let code = unsafe {
            (session.library.functions().init)(&mut **session.raw, session.params.sw_backup)
        };
        session.check("qzInit", Code(code))?;
        session.set_up()?;
        Ok(session)
    }

    /// Whether a device was there when the session was made.
    pub fn has_device(&self) -> bool {
        self.raw.hw_session_stat == 0
    }

    /// Whether a device may still be at work for it: then it answers errors only.
    pub fn is_abandoned(&self) -> bool {
        matches!(self.state, State::Abandoned(_))
    }

    /// Compresses the first `len` bytes of `content`, and returns how many bytes of members are at the front
    /// of `out`.
    ///
    /// # Errors
    /// What the library answered, or `content` is shorter. Unless the session is abandoned then, it can be
    /// used again, and `out` is undefined.
    pub fn compress(
        &mut self,
        content: &Buffer,
        len: usize,
        out: &mut Buffer,
    ) -> Result<usize, Error> {
        self.usable()?;
        let bytes = content.get(..len).ok_or(failed(COMPRESS, Code::PARAMS))?;
        let (mut read, mut written) = (len32(COMPRESS, bytes)?, len32(COMPRESS, out)?);
        // SAFETY: the session is set up. The pointers are those of two buffers, and the lengths are not more
        // than theirs. The library reads and writes no more than that; and if its device goes on after it
        // has answered an error, then in memory that `give_up` has taken from the buffers for good.
        let code = unsafe {
            (self.library.functions().compress)(
                &mut **self.raw,
                bytes.as_ptr(),
                &mut read,
                out.as_mut_ptr(),
                &mut written,
                LAST,
            )
        };
        let (read, written) = (read as usize, written as usize);
        match Code(code) {
            Code::OK if read == len && written <= out.len() => Ok(written),
            code => Err(self.give_up(COMPRESS, code, content, out)),
        }
    }

    /// Decompresses the first `len` bytes of `members`, all of them, to exactly the first `room` bytes of `out`.
    ///
    /// A device's session compares the members' checksums. The library's software does so too, but does
    /// not notice a last member that ends too early.
    ///
    /// # Errors
    /// As [`Self::compress`]; [`Code::DATA_ERROR`] also if the members' content is longer or shorter.
    pub fn decompress(
        &mut self,
        members: &Buffer,
        len: usize,
        out: &mut Buffer,
        room: usize,
    ) -> Result<(), Error> {
        self.usable()?;
        if len > members.len() || room > out.len() {
            return Err(failed(DECOMPRESS, Code::PARAMS));
        }
        let (mut read, mut written) = (0, 0);
        while read < len && written < room {
            // The library looks at a whole header, however little it is given.
            if len - read < SHORTEST_MEMBER {
                return Err(self.start_again(DECOMPRESS, Code::DATA_ERROR));
            }
            let from = members.get(read..len).unwrap_or_default();
            let to = out.get_mut(written..room).unwrap_or_default();
            match self.decompress_some(from, to)? {
                (Code::OK, r, w) if r > 0 && r <= from.len() && w <= to.len() => {
                    read += r;
                    written += w;
                }
                (code, ..) => return Err(self.give_up(DECOMPRESS, code, members, out)),
            }
        }
        if (read, written) == (len, room) {
            Ok(())
        } else {
            Err(self.start_again(DECOMPRESS, Code::DATA_ERROR))
        }
    }

    /// One call; returns its answer, and how many bytes it read and wrote.
    fn decompress_some(
        &mut self,
        members: &[u8],
        out: &mut [u8],
    ) -> Result<(Code, usize, usize), Error> {
        let (mut read, mut written) = (len32(DECOMPRESS, members)?, len32(DECOMPRESS, out)?);
        // SAFETY: as in `compress`, and there are as many bytes as a header has. Both slices are parts of
        // buffers, which the caller gives up if the answer is not a success.
        let code = unsafe {
            (self.library.functions().decompress)(
                &mut **self.raw,
                members.as_ptr(),
                &mut read,
                out.as_mut_ptr(),
                &mut written,
            )
        };
        Ok((Code(code), read as usize, written as usize))
    }

    /// Starts afresh: what was decompressed turned out to be something else than was wanted, and the
    /// library may go on inside of a member.
    pub fn reset(&mut self) {
        if self.is_abandoned() {
            return;
        }
        self.tear_down();
        self.raw.thd_sess_stat = 0;
        self.state = match self.set_up() {
            Ok(()) => State::Usable,
            Err(error) => State::Broken(error.code().unwrap_or(Code::FAIL)),
        };
    }

    fn usable(&self) -> Result<(), Error> {
        match self.state {
            State::Usable => Ok(()),
            State::Broken(code) => Err(failed(SET_UP, code)),
            State::Abandoned(code) => Err(failed("the call before", code)),
        }
    }

    /// A call answered an error, or a success that cannot be. Unless it is certain that no device is at work
    /// with the buffers, nobody gets them any more.
    fn give_up(
        &mut self,
        function: &'static str,
        code: Code,
        from: &Buffer,
        to: &mut Buffer,
    ) -> Error {
        let lied = code == Code::OK;
        let code = if lied { Code::FAIL } else { code };
        let may_have_device = self.params.sw_backup == 0 || self.has_device();
        if may_have_device && (lied || !code.is_settled()) {
            self.state = State::Abandoned(code);
            from.abandon_to_reader();
            to.abandon_to_writer();
            return failed(function, code);
        }
        self.start_again(function, code)
    }

    fn start_again(&mut self, function: &'static str, code: Code) -> Error {
        self.reset();
        failed(function, code)
    }

    fn set_up(&mut self) -> Result<(), Error> {
        let mut params = self.params;
        // SAFETY: the session was initialised, and is new or torn down. The parameters are laid out
        // as the library has them, which `Library::load_from` has looked at.
        let code = unsafe {
            (self.library.functions().setup_session_deflate)(&mut **self.raw, &mut params)
        };
        self.check(SET_UP, Code(code))?;
        if self.params.sw_backup == 0 && !self.has_device() {
            let code = i32::try_from(self.raw.hw_session_stat).map_or(Code::FAIL, Code);
            return Err(Error::Failed {
                function: SET_UP,
                code,
            });
        }
        Ok(())
    }

    fn tear_down(&mut self) {
        // SAFETY: the session was initialised; the library takes one that is torn down already.
        unsafe { (self.library.functions().teardown_session)(&mut **self.raw) };
    }

    /// Whether `code` says that the function did what it was to do.
    fn check(&self, function: &'static str, code: Code) -> Result<(), Error> {
        // Above zero are success, and reasons why software is used.
        let done = match self.params.sw_backup {
            0 => matches!(code, Code::OK | Code::DUPLICATE),
            _ => code.0 >= 0,
        };
        if done {
            Ok(())
        } else {
            Err(Error::Failed { function, code })
        }
    }
}

impl Library {
    /// Makes a session for this thread.
    ///
    /// The first one of a process looks for devices and takes them: it opens files and starts a
    /// thread.
    ///
    /// # Errors
    /// There is no device and the configuration wants one, or the library failed.
    pub fn session(&self, config: Config) -> Result<Session, Error> {
        Session::new(self.clone(), config)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_abandoned() {
            return;
        }
        self.tear_down();
        // SAFETY: the session was initialised on this thread and is closed once. What the library says
        // to it does not matter: there is nothing that could be done.
        unsafe { (self.library.functions().close)(&mut **self.raw) };
        // SAFETY: it is dropped once, and not used after it.
        unsafe { ManuallyDrop::drop(&mut self.raw) };
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("library", &self.library)
            .field("has_device", &self.has_device())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn failed(function: &'static str, code: Code) -> Error {
    Error::Failed { function, code }
}

/// The library has lengths of 32 bits.
fn len32(function: &'static str, bytes: &[u8]) -> Result<u32, Error> {
    let len = bytes.len().try_into();
    len.map_err(|_| failed(function, Code::PARAMS))
}

const COMPRESS: &str = "qzCompress";
const DECOMPRESS: &str = "qzDecompress";
const SET_UP: &str = "qzSetupSessionDeflate";

/// What follows in other calls belongs to other members.
const LAST: u32 = 1;
/// Bytes of a member without any data: header of 24 bytes and trailer of 8.
const SHORTEST_MEMBER: usize = 32;
