// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A connected stream socket of the kernel.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connected::ConnectedSocket;
use super::connection::{Interrupt, Transport};
use super::option::{len_of, set_option, set_plain_option};
use super::wake::WakeEvent;
use crate::memory::{IoVec, IoVecMut};

/// A TCP, unix or vsock stream socket.
///
/// A blocked call waits in `poll(2)` for the socket and for an event descriptor, through which it
/// is interrupted. While it runs, a channel's connection makes the system calls `sendmsg`, `recvmsg` and `poll`,
/// and `write` and `read` on the event descriptor; at the end `close` twice. What it takes to make one stands with each
/// constructor.
#[derive(Debug)]
pub struct SocketTransport {
    socket: OwnedFd,
    wake: Arc<WakeEvent>,
    time_limit: Option<Duration>,
    waited: Duration,
}

impl SocketTransport {
    /// Takes over a connected socket: a [`TcpStream`](std::net::TcpStream), a
    /// [`UnixStream`](std::os::unix::net::UnixStream), or an [`OwnedFd`] for others, such as vsock's.
    /// Whether it blocks does not matter.
    ///
    /// Small packets of a TCP connection are sent at once from now on (`TCP_NODELAY`): otherwise each downtime would be
    /// some 40 ms longer. All other options stay as they are; [`Self::tcp`] also sets those that notice a dead host.
    ///
    /// The system calls are `eventfd2`; for a `TcpStream` `setsockopt` before it; and for an `OwnedFd`, of which
    /// nothing is known, `getsockopt` (`SO_TYPE`), then `setsockopt`, which fails where it is not TCP.
    ///
    /// # Errors
    /// The descriptor is not a stream socket, or the process has no descriptor left.
    pub fn new(socket: impl ConnectedSocket) -> io::Result<Self> {
        Self::prepared(socket.prepare()?)
    }

    /// Takes over a stream socket whose options are set.
    fn prepared(socket: OwnedFd) -> io::Result<Self> {
        let wake = Arc::new(WakeEvent::new()?);
        Ok(Self {
            socket,
            wake,
            time_limit: None,
            waited: Duration::ZERO,
        })
    }

    /// A second handle of the same connection, with an interrupter of its own: one thread sends
    /// while another receives. The system calls are `fcntl` and `eventfd2`.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Self::prepared(self.socket.try_clone()?)
    }

    /// Copies the first bytes that have come out to `room` and leaves them to be received; returns how
    /// many, 0 at the end of the stream. Does not wait: `None` if nothing has come yet.
    ///
    /// # Errors
    /// The system's.
    pub fn peek(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            // SAFETY: the pointer and the length describe `room`, which is borrowed exclusively.
            let count = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    room.as_mut_ptr().cast(),
                    room.len(),
                    FLAGS | libc::MSG_PEEK,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                return Ok(Some(count));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                _ => retry_if_signal(error)?,
            }
        }
    }

    /// The process that made the other end of a unix socket. `None` for another kind of socket, and
    /// for a process that has no number here because it lives in another pid namespace.
    pub fn peer_process(&self) -> Option<NonZeroU32> {
        // SAFETY: ucred is three integers, for all of which zero is valid.
        let mut peer: libc::ucred = unsafe { std::mem::zeroed() };
        let mut len = len_of(&peer);
        // SAFETY: the pointers describe `peer` and `len`, which live over the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &mut len,
            )
        };
        let pid = u32::try_from(peer.pid).ok().and_then(NonZeroU32::new);
        pid.filter(|_| result == 0)
    }

    /// Asks the system to keep up to `bytes` bytes that have been sent and not been read, for instance
    /// [`UNIX_SEND_BUFFER`]; it may allow less. TCP finds a better value than a fixed one by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        set_option(self.as_fd(), (libc::SOL_SOCKET, libc::SO_SNDBUF), value)
    }

    /// Waits until the socket is ready for `events`, which may be at once, or until the deadline; without
    /// one for ever.
    fn wait(&mut self, events: libc::c_short, deadline: Option<Instant>) -> io::Result<()> {
        let start = Instant::now();
        let result = self.poll(events, deadline);
        self.waited += start.elapsed();
        result
    }

    fn poll(&self, events: libc::c_short, deadline: Option<Instant>) -> io::Result<()> {
        let mut fds = [
            libc::pollfd {
                fd: self.socket.as_raw_fd(),
                events,
                revents: 0,
            },
            libc::pollfd {
                fd: self.wake.as_fd().as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            },
        ];
        loop {
            // Made out anew: a signal may come more often than the time is over.
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let limit = left.map_or(-1, whole_millis);
            // SAFETY: the pointer and the count describe `fds`, which lives over the call.
            let ready = unsafe { libc::poll(fds.as_mut_ptr(), 2, limit) };
            let [_, wake] = &fds;
            match ready {
                0 if left.is_some_and(|left| left.is_zero()) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                0 => {}
                1.. if wake.revents != 0 => return Err(io::ErrorKind::Interrupted.into()),
                1.. => return Ok(()),
                _ => retry_if_signal(io::Error::last_os_error())?,
            }
        }
    }

    /// Makes a call that does not block, waiting for `events` as often as it would.
    fn call(
        &mut self,
        events: libc::c_short,
        call: impl Fn(libc::c_int) -> libc::ssize_t,
    ) -> io::Result<usize> {
        // A limit that no clock reaches is none.
        let limit = self.time_limit;
        let end = || limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut deadline = None;
        loop {
            if let Ok(count) = usize::try_from(call(self.socket.as_raw_fd())) {
                return Ok(count);
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    let deadline = *deadline.get_or_insert_with(end);
                    self.wait(events, deadline)?;
                }
                _ => retry_if_signal(error)?,
            }
        }
    }
}

impl AsFd for SocketTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport for SocketTransport {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        let message = message(bytes.as_ptr().cast(), bytes.len());
        self.wake.check()?;
        // SAFETY: `message` describes `bytes`: IoVec is a transparent wrapper of iovec, and each
        // is readable over its length while it is borrowed.
        self.call(libc::POLLOUT, |fd| unsafe {
            libc::sendmsg(fd, &message, FLAGS)
        })
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let message = message(room.as_ptr().cast(), room.len());
        self.wake.check()?;
        self.call(libc::POLLIN, |fd| {
            let mut message = message;
            // SAFETY: `message` describes `room`: IoVecMut is a transparent wrapper of iovec, and
            // each is writable over its length while it is borrowed exclusively.
            unsafe { libc::recvmsg(fd, &mut message, FLAGS) }
        })
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.wake) as Arc<dyn Interrupt>
    }

    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn resume(&mut self) {
        self.wake.reset();
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
    }

    fn has_ended(&self) -> bool {
        let mut fd = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: the pointer and the count describe `fd`, which lives over the call.
        let ready = unsafe { libc::poll(&mut fd, 1, 0) };
        ready > 0 && fd.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
    }

    fn set_lingering(&mut self, lingers: bool) {
        let value = libc::linger {
            l_onoff: libc::c_int::from(!lingers),
            l_linger: 0,
        };
        // A socket that has no such option takes nothing back.
        let _ = set_plain_option(self.as_fd(), (libc::SOL_SOCKET, libc::SO_LINGER), value);
    }

    fn waited(&self) -> Duration {
        self.waited
    }
}

/// A send buffer for unix sockets, in bytes. Their default holds less than half a packet, so that both
/// sides of a connection wake each other up several times per packet.
pub const UNIX_SEND_BUFFER: usize = 4 * 1024 * 1024;

/// No call blocks in the kernel, where it could not be interrupted, and none raises SIGPIPE.
const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Most vectors that the kernel takes in one call (UIO_MAXIOV).
const MAX_VECTORS: usize = 1024;

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "at most MAX_VECTORS, and a type of its own in each C library"
)]
fn message(vectors: *const libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: msghdr is plain integers and pointers, for all of which zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.cast_mut();
    message.msg_iovlen = count.min(MAX_VECTORS) as _;
    message
}

/// A time for `poll(2)`: not shorter, and zero only if it is.
fn whole_millis(time: Duration) -> libc::c_int {
    let millis = time.as_nanos().div_ceil(1_000_000);
    libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
}

fn retry_if_signal(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::EINTR) {
        Ok(())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    extern "C" fn ignore(_: libc::c_int) {}

    #[test]
    fn signals_do_not_prolong_a_limit() {
        let handler = ignore as extern "C" fn(libc::c_int);
        // SAFETY: the handler does nothing, and no other test uses this signal.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
        let (here, _there) = UnixStream::pair().unwrap();
        let mut here = SocketTransport::new(here).unwrap();
        here.set_time_limit(Some(Duration::from_millis(200)));
        let (say, said) = mpsc::channel();
        let waiting = thread::spawn(move || {
            // SAFETY: the call takes nothing.
            say.send(unsafe { libc::pthread_self() }).unwrap();
            let mut room = [0];
            here.recv(&mut [room.as_mut_slice().into()])
        });
        let thread = said.recv().unwrap();
        // For ever, if each one started the limit anew.
        for _ in 0..3000 {
            if waiting.is_finished() {
                break;
            }
            // SAFETY: the thread has not been joined yet.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            thread::sleep(Duration::from_millis(10));
        }
        assert!(waiting.is_finished());
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
