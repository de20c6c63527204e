// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Options of TCP connections.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::option::set_option;
use super::socket::SocketTransport;

impl SocketTransport {
    /// Takes over a TCP connection, with the options that a migration wants: small packets are sent at once, and
    /// a peer whose host is gone is noticed after `limit`, for instance
    /// [`Limits::destination`](crate::Limits::destination).
    ///
    /// A host that answers and takes nothing is given the same time by the system, so the limit must not be
    /// shorter than the time that a migration waits for a peer. Less than 5 s is taken for that: a network may
    /// take as long.
    ///
    /// The system calls are `setsockopt` six times, and `eventfd2`.
    ///
    /// # Errors
    /// The system's.
    pub fn tcp(stream: TcpStream, limit: Duration) -> io::Result<Self> {
        let limit = limit.max(SHORTEST);
        let transport = Self::new(stream)?;
        let set = |option, value| set_option(transport.as_fd(), option, value);
        set((libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1)?;
        // A third of the time until the first probe, the rest for the others.
        for (name, time) in [
            (libc::TCP_KEEPIDLE, limit / 3),
            (libc::TCP_KEEPINTVL, limit / 9),
        ] {
            let seconds = time.as_secs().clamp(1, MOST_SECONDS);
            set((libc::IPPROTO_TCP, name), number(seconds.into()))?;
        }
        set((libc::IPPROTO_TCP, libc::TCP_KEEPCNT), PROBES)?;
        let user_timeout = (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT);
        set(user_timeout, number(limit.as_millis()))?;
        Ok(transport)
    }
}

fn number(value: u128) -> libc::c_int {
    libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX)
}

const SHORTEST: Duration = Duration::from_secs(5);
const PROBES: libc::c_int = 6;
/// The system takes no longer times between probes.
const MOST_SECONDS: u64 = 32_767;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd as _;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::transport::Transport as _;

    fn option(transport: &SocketTransport, level: libc::c_int, name: libc::c_int) -> libc::c_int {
        crate::transport::option::option(transport.as_fd(), (level, name)).unwrap()
    }

    #[test]
    fn options_follow_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for (seconds, idle, interval, timeout) in [
            (45, 15, 5, 45_000),
            (300, 100, 33, 300_000),
            (0, 1, 1, 5_000),
            (u64::MAX, 32_767, 32_767, libc::c_int::MAX),
        ] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let limit = Duration::from_secs(seconds);
            let transport = SocketTransport::tcp(stream, limit).unwrap();
            assert!(transport.as_fd().as_raw_fd() >= 0);
            for (level, name, want) in [
                (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
                (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
                (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle),
                (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, interval),
                (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 6),
                (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, timeout),
            ] {
                assert_eq!(option(&transport, level, name), want, "{seconds} s: {name}");
            }
        }
    }
    #[test]
    fn what_has_not_reached_the_peer_can_be_taken_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for lingers in [true, false] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut here = SocketTransport::tcp(stream, SHORTEST).unwrap();
            let mut there = SocketTransport::new(listener.accept().unwrap().0).unwrap();
            let other_handle = here.duplicate().unwrap();
            here.set_lingering(false);
            here.set_lingering(lingers);
            // Until the connection is full.
            here.set_time_limit(Some(Duration::ZERO));
            let mut sent = 0;
            let error = loop {
                match here.send(&[[7; 4096].as_slice().into()]) {
                    Ok(count) => sent += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(here);
            assert!(!there.has_ended());
            drop(other_handle);
            // Though there is something left to receive.
            let start = Instant::now();
            while !lingers && !there.has_ended() {
                assert!(start.elapsed() < Duration::from_secs(60));
                thread::yield_now();
            }
            let mut arrived = 0;
            let mut room = vec![0; 64 * 1024];
            let end = loop {
                match there.recv(&mut [room.as_mut_slice().into()]) {
                    Ok(0) => break Ok(()),
                    Ok(count) => arrived += count,
                    Err(error) => break Err(error.kind()),
                }
            };
            assert!(arrived > 0);
            if lingers {
                assert_eq!((end, arrived), (Ok(()), sent));
            } else {
                assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
                assert!(arrived < sent, "{arrived} of {sent} bytes");
            }
        }
    }
}
