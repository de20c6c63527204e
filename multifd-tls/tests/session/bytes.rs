// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is sent comes.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{SocketTransport, recv_all};
use multifd_tls::{Client, Server, ServerOptions};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{Authority, LIMIT, client, receive, send, server, session};

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn lists_of_all_lengths() {
    let [mut here, mut there] = session();
    let bytes = pattern(800_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = &bytes[..];
            for len in [1, 12, 4096, 131_072, 131_073, 200_000].iter().cycle() {
                let (front, back) = rest.split_at(rest.len().min(*len));
                let (one, two) = front.split_at(front.len() / 3);
                let mut list = [one, &[], two].map(IoVec::from);
                multifd_core::transport::send_all(&mut *here, &mut list).unwrap();
                rest = back;
                if rest.is_empty() {
                    return;
                }
            }
        });
        let mut got = Vec::new();
        for len in [7, 48, 16_384, 3, 90_000].iter().cycle() {
            let mut part = vec![0; (*len).min(bytes.len() - got.len())];
            let at = part.len() / 5;
            let (one, two) = part.split_at_mut(at);
            let mut list = [one, &mut [], two].map(IoVecMut::from);
            assert!(recv_all(&mut *there, &mut list).unwrap());
            got.extend(part);
            if got.len() == bytes.len() {
                break;
            }
        }
        assert!(got == bytes);
    });
}

/// The main connection: one thread waits for the return path while another is stuck with what it sends.
#[test]
fn both_directions_at_once() {
    let [mut here, mut there] = session();
    let mut back = here.duplicate().unwrap();
    let bytes = pattern(8 << 20);
    thread::scope(|scope| {
        let sends = scope.spawn(|| send(&mut *here, &bytes));
        // Nobody takes what is sent, and yet:
        send(&mut *there, b"SHUT");
        assert_eq!(receive(&mut *back, 4), b"SHUT");
        assert!(!sends.is_finished(), "the socket holds no 8 MiB");
        assert!(receive(&mut *there, bytes.len()) == bytes);
    });
}

#[test]
fn an_interrupted_session_has_a_last_word() {
    let [mut here, mut there] = session();
    let interrupter = here.interrupter();
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut room = [0; 4];
            let error = here.recv(&mut [IoVecMut::from(&mut room[..])]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        });
        interrupter.interrupt();
        waits.join().unwrap();
    });
    here.resume();
    send(&mut *here, b"SHUT");
    assert_eq!(receive(&mut *there, 4), b"SHUT");
}

#[test]
fn an_end_is_an_end_with_a_word_and_without() {
    let mut room = [0; 4];
    for word in [true, false] {
        let [mut here, mut there] = session();
        send(&mut *here, b"last");
        if word {
            here.finish().unwrap();
        } else {
            drop(here);
        }
        assert_eq!(receive(&mut *there, 4), b"last");
        for _ in 0..2 {
            assert_eq!(there.recv(&mut [IoVecMut::from(&mut room[..])]).unwrap(), 0);
        }
    }
}

/// A network that cuts and joins records wherever it likes.
#[test]
fn records_come_in_pieces() {
    let authority = Authority::new("authority");
    let (for_client, for_server) = (
        authority.folder("client", |_| ()),
        authority.folder("server", |_| ()),
    );
    let (client, server) = (client(for_client.path()), server(for_server.path()));
    for piece in [1, 2, 3, 5, 7, 100, 16_384, 40_000] {
        let ((here, mut from), (mut to, there)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        let transport = |end| Box::new(SocketTransport::new(end).unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                let mut room = [0; 8192];
                while let Ok(count @ 1..) = from.read(&mut room) {
                    bytes.extend_from_slice(&room[..count]);
                    for piece in bytes.chunks(piece) {
                        to.write_all(piece).unwrap();
                    }
                    bytes.clear();
                }
                to.shutdown(std::net::Shutdown::Write).unwrap();
            });
            scope.spawn(move || io::copy(&mut back_from, &mut back_to));
            let accepted = scope.spawn(|| server.accept(transport(there), LIMIT));
            let mut here = client.connect(transport(here), LIMIT).unwrap();
            let mut there = accepted.join().unwrap().unwrap();
            let sends = scope.spawn(move || send(&mut *here, &pattern(100_000)));
            assert!(receive(&mut *there, 100_000) == pattern(100_000));
            sends.join().unwrap();
            drop(there);
        });
    }
}

/// A peer of another make changes its keys in the middle, and asks for new ones of this side.
#[test]
fn keys_are_changed_at_any_time() {
    let authority = Authority::new("authority");
    let folder = authority.folder("server", |_| ());
    let mut options = ServerOptions::default();
    options.verify_peer = false;
    let server = Server::from_dir(folder.path(), &options).unwrap();
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(folder.path().join("ca-cert.pem")).unwrap();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut peer = rustls::StreamOwned::new(connection, here);
            let mut room = [0; 4];
            for _ in 0..3 {
                peer.write_all(b"ping").unwrap();
                peer.conn.refresh_traffic_keys().unwrap();
                peer.write_all(b"pong").unwrap();
                peer.read_exact(&mut room).unwrap();
                assert_eq!(&room, b"well");
            }
        });
        let there = Box::new(SocketTransport::new(there).unwrap());
        let mut there = server.accept(there, LIMIT).unwrap();
        for _ in 0..3 {
            assert_eq!(receive(&mut *there, 8), b"pingpong");
            send(&mut *there, b"well");
        }
    });
}

#[test]
fn a_record_that_was_changed_is_refused() {
    let authority = Authority::new("authority");
    let (for_client, for_server) = (
        authority.folder("client", |_| ()),
        authority.folder("server", |_| ()),
    );
    let (client, server) = (client(for_client.path()), server(for_server.path()));
    let (mut raw, socket) = UnixStream::pair().unwrap();
    let (peer, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let mut to = peer;
        let mut back_from = to.try_clone().unwrap();
        let mut back_to = raw.try_clone().unwrap();
        scope.spawn(move || io::copy(&mut back_from, &mut back_to));
        scope.spawn(move || {
            // The handshake's records as they are; the first record of 1000 bytes and more is changed.
            loop {
                let mut header = [0; 5];
                if raw.read_exact(&mut header).is_err() {
                    return;
                }
                let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
                let mut body = vec![0; len];
                raw.read_exact(&mut body).unwrap();
                if len > 5000 {
                    body[len / 2] ^= 1;
                }
                to.write_all(&[&header[..], &body].concat()).unwrap();
            }
        });
        let transport = |end| Box::new(SocketTransport::new(end).unwrap());
        let accepted = scope.spawn(move || server.accept(transport(there), LIMIT));
        let mut here = Client::connect(&client, transport(socket), LIMIT).unwrap();
        let mut there = accepted.join().unwrap().unwrap();
        send(&mut *here, &[1; 10_000]);
        let mut room = [0; 16];
        let error = there
            .recv(&mut [IoVecMut::from(&mut room[..])])
            .unwrap_err();
        assert_eq!(error.to_string(), "TLS: cannot decrypt peer's message");
        drop((here, there));
    });
}
