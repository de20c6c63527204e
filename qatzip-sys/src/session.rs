//! A session: what compresses and decompresses on one thread.

#![allow(unsafe_code, reason = "calls the library's functions")]

use std::fmt;
use std::marker::PhantomData;

use crate::bindings::{DeflateParams, RawSession};
use crate::{Code, Config, Error, Library};

/// A session of the thread that made it, in the format "gzip-ext": gzip members with QATzip's extra
/// field, from a device of at most [`Session::MEMBER_CONTENT`] bytes of content.
pub struct Session {
    library: Library,
    params: DeflateParams,
    raw: Box<RawSession>,
    /// What the last attempt to make it usable again answered, if that failed.
    broken: Option<Code>,
    /// The library keeps data of its own for each thread.
    _not_send: PhantomData<*mut ()>,
}

impl Session {
    /// Most bytes of content in a member that a device makes.
    pub const MEMBER_CONTENT: usize = 64 * 1024;

    pub(crate) fn new(library: Library, config: Config) -> Result<Self, Error> {
        let mut session = Self {
            params: config.params(library.defaults()),
            library,
            raw: Box::new(RawSession::new()),
            broken: None,
            _not_send: PhantomData,
        };
        // SAFETY: the session is zeroed memory of its own, which the library expects; its address
        // does not change until it is closed.
        let code = unsafe {
            (session.library.functions().init)(&mut *session.raw, session.params.sw_backup)
        };
        session.check("qzInit", Code(code))?;
        session.set_up()?;
        Ok(session)
    }

    /// Whether a device was there when the session was made.
    pub fn has_device(&self) -> bool {
        self.raw.hw_session_stat == 0
    }

    /// Compresses all of `content`, and answers how many bytes of members are at the front of `out`.
    ///
    /// # Errors
    /// What the library answered; the session can be used again. `out` is then undefined.
    pub fn compress(&mut self, content: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        self.usable()?;
        let (mut read, mut written) = (len32(COMPRESS, content)?, len32(COMPRESS, out)?);
        // SAFETY: the session is set up. The pointers are those of slices, and the lengths are
        // theirs: the library reads and writes no more, and keeps none of them when it returns.
        let code = unsafe {
            (self.library.functions().compress)(
                &mut *self.raw,
                content.as_ptr(),
                &mut read,
                out.as_mut_ptr(),
                &mut written,
                LAST,
            )
        };
        let (read, written) = (read as usize, written as usize);
        match Code(code) {
            Code::OK if read == content.len() && written <= out.len() => Ok(written),
            Code::OK => Err(self.fail(COMPRESS, Code::FAIL)),
            code => Err(self.fail(COMPRESS, code)),
        }
    }

    /// Decompresses `members`, all of them, to exactly the bytes of `out`.
    ///
    /// A device's session compares the members' checksums. The library's software does so too, but does
    /// not notice a last member that ends too early.
    ///
    /// # Errors
    /// What the library answered, [`Code::DATA_ERROR`] also if the members' content is longer or
    /// shorter. The session can be used again; `out` is then undefined.
    pub fn decompress(&mut self, members: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.usable()?;
        let (mut rest, mut room) = (members, out);
        while !rest.is_empty() && !room.is_empty() {
            let (read, written) = self.decompress_some(rest, room)?;
            let next = (rest.get(read..), room.get_mut(written..));
            (rest, room) = match next {
                (Some(rest), Some(room)) if read > 0 => (rest, room),
                _ => return Err(self.fail(DECOMPRESS, Code::FAIL)),
            };
        }
        if rest.is_empty() && room.is_empty() {
            Ok(())
        } else {
            Err(self.fail(DECOMPRESS, Code::DATA_ERROR))
        }
    }

    /// One call; answers how many bytes it read and wrote.
    fn decompress_some(&mut self, members: &[u8], out: &mut [u8]) -> Result<(usize, usize), Error> {
        // The library looks at a whole header, however little it is given.
        if members.len() < SHORTEST_MEMBER {
            return Err(self.fail(DECOMPRESS, Code::DATA_ERROR));
        }
        let (mut read, mut written) = (len32(DECOMPRESS, members)?, len32(DECOMPRESS, out)?);
        // SAFETY: as in `compress`; and there are as many bytes as a header has.
        let code = unsafe {
            (self.library.functions().decompress)(
                &mut *self.raw,
                members.as_ptr(),
                &mut read,
                out.as_mut_ptr(),
                &mut written,
            )
        };
        match Code(code) {
            Code::OK => Ok((read as usize, written as usize)),
            code => Err(self.fail(DECOMPRESS, code)),
        }
    }

    /// Starts afresh: what was decompressed turned out to be something else than was wanted, and the
    /// library may go on inside of a member.
    pub fn reset(&mut self) {
        self.tear_down();
        self.raw.thd_sess_stat = 0;
        if let Err(error) = self.set_up() {
            self.broken = Some(error.code().unwrap_or(Code::FAIL));
        }
    }

    fn usable(&self) -> Result<(), Error> {
        match self.broken {
            None => Ok(()),
            Some(code) => Err(Error::Failed {
                function: SET_UP,
                code,
            }),
        }
    }

    fn fail(&mut self, function: &'static str, code: Code) -> Error {
        self.reset();
        Error::Failed { function, code }
    }

    fn set_up(&mut self) -> Result<(), Error> {
        let mut params = self.params;
        // SAFETY: the session was initialised, and is new or torn down. The parameters are laid out
        // as the library has them, which `Library::load_from` has looked at.
        let code = unsafe {
            (self.library.functions().setup_session_deflate)(&mut *self.raw, &mut params)
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
        unsafe { (self.library.functions().teardown_session)(&mut *self.raw) };
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
        self.tear_down();
        // SAFETY: the session was initialised on this thread and is closed once. What the library says
        // to it does not matter: there is nothing that could be done.
        unsafe { (self.library.functions().close)(&mut *self.raw) };
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("library", &self.library)
            .field("has_device", &self.has_device())
            .finish_non_exhaustive()
    }
}

/// The library has lengths of 32 bits.
fn len32(function: &'static str, bytes: &[u8]) -> Result<u32, Error> {
    bytes.len().try_into().map_err(|_| Error::Failed {
        function,
        code: Code::PARAMS,
    })
}

const COMPRESS: &str = "qzCompress";
const DECOMPRESS: &str = "qzDecompress";
const SET_UP: &str = "qzSetupSessionDeflate";

/// What follows in other calls belongs to other members.
const LAST: u32 = 1;
/// Bytes of a member without any data: header of 24 bytes and trailer of 8.
const SHORTEST_MEMBER: usize = 32;
