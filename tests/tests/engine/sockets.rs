// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sockets of the kernel.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use multifd_core::transport::{SocketTransport, Transport, recv_all, send_all};
use multifd_core::{ChannelCount, Fault, PageSize, Receiver, ReceiverConfig, Sender, SenderConfig};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::Watchdog;

use crate::guest;
use crate::rig::{self, Rig};

type Pair = (OwnedFd, OwnedFd);

fn unix() -> Pair {
    let (here, there) = UnixStream::pair().unwrap();
    (here.into(), there.into())
}

fn tcp() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (here.into(), listener.accept().unwrap().0.into())
}

const KINDS: [fn() -> Pair; 2] = [unix, tcp];

fn transports(pair: Pair) -> (SocketTransport, SocketTransport) {
    let (here, there) = pair;
    (
        SocketTransport::new(here).unwrap(),
        SocketTransport::new(there).unwrap(),
    )
}

/// A migration of 1000 pages over `channels` sockets.
fn start(socket: fn() -> Pair, channels: u8) -> Rig {
    let mut config = ReceiverConfig::default();
    config.channels = ChannelCount::new(channels).unwrap();
    let receiver = Receiver::new(config, rig::none());
    let mut connections: Vec<Box<dyn Transport>> = Vec::new();
    for _ in 0..channels {
        let (here, there) = transports(socket());
        connections.push(Box::new(here));
        receiver.accept(Box::new(there)).unwrap();
    }
    let source = guest::memory(PageSize::X86, &[("ram", 1000)]);
    let config = SenderConfig::default();
    let sender = Sender::start(&config, source.clone(), &rig::none(), connections).unwrap();
    Rig {
        sender,
        receiver,
        target: guest::memory(PageSize::X86, &[("ram", 1000)]),
        source,
        taps: Vec::new(),
    }
}

#[test]
fn round_trip() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        for channels in [1, 8] {
            let mut rig = start(socket, channels);
            let mut random = PageSource::new(5);
            rig.begin().unwrap();
            for _ in 0..3 {
                guest::fill(&rig.source, &guest::pages(&rig.source), &mut random);
                rig.queue_all().unwrap();
                rig.sync().unwrap();
                guest::assert_same(&rig.target, &rig.source);
            }
            let (sent, received) = rig.finish().unwrap();
            assert_eq!(sent.total().wire_bytes, received.total().wire_bytes);
            assert_eq!(sent.total().guest_bytes, 3 * 1000 * 4096);
        }
    }
}

#[test]
fn aborted_while_channels_are_blocked() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let mut rig = start(socket, 2);
        guest::fill_all(&rig.source, 1);
        rig.begin().unwrap();
        // The channels of the destination are parked behind this one, so the sockets fill up.
        rig.sender.sync().unwrap();
        let (sender, receiver) = (rig.sender.abort_handle(), rig.receiver.abort_handle());
        let monitor = rig.sender.monitor();
        let aborter = thread::spawn(move || {
            let mut sent = 0;
            // No socket takes so much that it would not stop.
            while sent != monitor.wire_bytes() {
                sent = monitor.wire_bytes();
                thread::sleep(Duration::from_millis(50));
            }
            sender.abort();
            receiver.abort();
        });
        let error = loop {
            if let Err(error) = rig.queue_all() {
                break error;
            }
        };
        assert_eq!(error.fault(), Fault::Aborted);
        aborter.join().unwrap();
        assert_eq!(rig.sender.finish().unwrap_err().fault(), Fault::Aborted);
        assert_eq!(rig.receiver.finish().unwrap_err().fault(), Fault::Aborted);
    }
}

#[test]
fn the_other_end_is_gone() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let mut rig = start(socket, 2);
        guest::fill_all(&rig.source, 1);
        rig.begin().unwrap();
        drop(rig.receiver);
        let (block, _) = guest::pages(&rig.source)[0];
        let error = loop {
            if let Err(error) = rig.sender.queue_run(block, 0, 1000) {
                break error;
            }
        };
        assert_eq!(error.fault(), Fault::Connection);
        assert!(
            error
                .to_string()
                .contains("the peer closed the connection ("),
            "{error}"
        );

        let mut rig = start(socket, 2);
        rig.begin().unwrap();
        drop(rig.sender);
        let error = rig.receiver.sync().unwrap_err();
        assert_eq!(error.fault(), Fault::Connection);
    }
}

#[test]
fn bytes_and_the_end() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let (mut here, mut there) = transports(socket());
        let (first, second) = (b"one, ".as_slice(), b"two".as_slice());
        send_all(
            &mut here,
            &mut [first.into(), (&[][..]).into(), second.into()],
        )
        .unwrap();
        drop(here);
        let (mut one, mut two) = ([0; 3], [0; 5]);
        assert!(
            recv_all(
                &mut there,
                &mut [one.as_mut_slice().into(), two.as_mut_slice().into()]
            )
            .unwrap()
        );
        assert_eq!((&one, &two), (b"one", b", two"));
        assert!(!recv_all(&mut there, &mut [one.as_mut_slice().into()]).unwrap());
    }
}

#[test]
fn more_than_fits_and_more_vectors_than_the_kernel_takes() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let (mut here, mut there) = transports(socket());
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let sending = {
            let bytes = bytes.clone();
            thread::spawn(move || {
                let mut vecs: Vec<_> = bytes.chunks(1000).map(Into::into).collect();
                send_all(&mut here, &mut vecs).unwrap();
                here.waited()
            })
        };
        let mut got = vec![0; bytes.len()];
        let mut room: Vec<_> = got.chunks_mut(700).map(Into::into).collect();
        assert!(recv_all(&mut there, &mut room).unwrap());
        assert!(got == bytes);
        sending.join().unwrap();
    }
}

#[test]
fn an_end_inside_is_told_from_an_end() {
    let _watchdog = Watchdog::start();
    let (here, there) = unix();
    UnixStream::from(here).write_all(b"abc").unwrap();
    let mut there = SocketTransport::new(there).unwrap();
    let mut room = [0; 4];
    let error = recv_all(&mut there, &mut [room.as_mut_slice().into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_peeked_at_stays() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let (mut here, mut there) = transports(socket());
        let mut room = [0; 4];
        assert_eq!(there.peek(&mut room).unwrap(), None);
        send_all(&mut here, &mut [b"ab".as_slice().into()]).unwrap();
        drop(here);
        let mut got = [0; 2];
        assert!(recv_all(&mut there, &mut [got[..1].as_mut().into()]).unwrap());
        assert_eq!(there.peek(&mut room).unwrap(), Some(1));
        assert!(recv_all(&mut there, &mut [got[1..].as_mut().into()]).unwrap());
        assert_eq!((room[0], &got), (b'b', b"ab"));
        assert_eq!(there.peek(&mut room).unwrap(), Some(0));
    }
}

#[test]
fn a_unix_socket_knows_the_process_behind_it() {
    let this = std::num::NonZeroU32::new(std::process::id());
    for (socket, process) in [(unix as fn() -> Pair, this), (tcp, None)] {
        let (here, _there) = transports(socket());
        assert_eq!(here.peer_process(), process);
    }
}

#[test]
fn interrupted_before_and_while_it_waits() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let (mut here, there) = transports(socket());
        let interrupter = here.interrupter();
        let waiting = thread::spawn(move || {
            let error = here.recv(&mut [[0; 4].as_mut_slice().into()]).unwrap_err();
            (error.kind(), here)
        });
        interrupter.interrupt();
        interrupter.interrupt();
        let (kind, mut here) = waiting.join().unwrap();
        assert_eq!(kind, ErrorKind::Interrupted);
        // Also when there would be something to do.
        let error = here.send(&[b"x".as_slice().into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        drop((there, here));
        interrupter.interrupt();
    }
}

#[test]
fn resumed_after_an_interrupt() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let (mut here, mut there) = transports(socket());
        here.interrupter().interrupt();
        here.resume();
        send_all(&mut here, &mut [b"last word".as_slice().into()]).unwrap();
        let mut room = [0; 9];
        assert!(recv_all(&mut there, &mut [room.as_mut_slice().into()]).unwrap());
        assert_eq!(&room, b"last word");
        // And it can be interrupted again, also while it waits.
        let interrupter = here.interrupter();
        let waiting = thread::spawn(move || here.recv(&mut [[0; 4].as_mut_slice().into()]));
        interrupter.interrupt();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
}

#[test]
fn a_clone_is_interrupted_by_itself() {
    let _watchdog = Watchdog::start();
    let (mut here, mut there) = transports(unix());
    let mut clone = here.try_clone().unwrap();
    here.interrupter().interrupt();
    assert_eq!(
        here.send(&[b"x".as_slice().into()]).unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    assert_eq!(clone.send(&[b"y".as_slice().into()]).unwrap(), 1);
    let mut room = [0; 2];
    assert_eq!(there.recv(&mut [room.as_mut_slice().into()]).unwrap(), 1);
    assert_eq!(room[0], b'y');
}

#[test]
fn a_time_limit_is_kept() {
    let _watchdog = Watchdog::start();
    for socket in KINDS {
        let (mut here, there) = transports(socket());
        let limit = Duration::from_millis(30);
        let start = Instant::now();
        here.set_time_limit(Some(limit));
        let error = here.recv(&mut [[0; 4].as_mut_slice().into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= limit);
        assert!(here.waited() >= limit);
        // Sending too, once nothing fits any more.
        let error = loop {
            if let Err(error) = here.send(&[[0; 10_000].as_slice().into()]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(there);
    }
}

#[test]
fn sockets_that_do_not_block_are_as_good() {
    let _watchdog = Watchdog::start();
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let mut here = SocketTransport::new(here).unwrap();
    let writing = thread::spawn(move || (&there).write_all(b"late").map(|()| there));
    let mut room = [0; 4];
    assert!(recv_all(&mut here, &mut [room.as_mut_slice().into()]).unwrap());
    assert_eq!(&room, b"late");
    let mut there = writing.join().unwrap().unwrap();
    send_all(&mut here, &mut [room.as_slice().into()]).unwrap();
    drop(here);
    let mut back = Vec::new();
    there.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"late");
}

#[test]
fn a_half_closed_connection() {
    let _watchdog = Watchdog::start();
    let (here, there) = UnixStream::pair().unwrap();
    here.shutdown(Shutdown::Read).unwrap();
    let mut there = SocketTransport::new(there).unwrap();
    // No signal, but an error.
    let error = there.send(&[b"x".as_slice().into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn only_stream_sockets_are_taken() {
    let _watchdog = Watchdog::start();
    let file = File::open("/dev/null").unwrap();
    assert!(SocketTransport::new(OwnedFd::from(file)).is_err());
    for socket in [
        OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()),
        OwnedFd::from(UnixDatagram::unbound().unwrap()),
    ] {
        let error = SocketTransport::new(socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "not a stream socket");
    }
}
