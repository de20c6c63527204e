// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A network that cuts what comes at any byte, and joins all else.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, SocketTransport, Transport, recv_all, send_all};
use multifd_tls::{Server, ServerOptions};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Authority, LIMIT, client, receive, send, server};

/// What comes is cut before this byte.
struct Cut {
    connection: SocketTransport,
    left: usize,
    received: Arc<AtomicUsize>,
}

impl Transport for Cut {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.connection.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let room = room.iter_mut().find(|vec| !vec.is_empty()).unwrap();
        let most = match self.left {
            0 => room.len(),
            left => left.min(room.len()),
        };
        let mut bytes = vec![0; most];
        let count = self.connection.recv(&mut [(&mut bytes[..]).into()])?;
        self.left = self.left.saturating_sub(count);
        self.received.fetch_add(count, Ordering::Relaxed);
        Ok(room.copy_from(bytes.get(..count).unwrap()))
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.connection.interrupter()
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.connection.set_time_limit(limit);
    }
}

/// A destination, and a source of another make.
struct Ends {
    server: Server,
    config: Arc<ClientConfig>,
    /// How much the destination has received of its last source.
    received: Arc<AtomicUsize>,
}

impl Ends {
    fn new() -> Self {
        let folder = Authority::new("authority").folder("server", |_| ());
        let mut options = ServerOptions::default();
        options.verify_peer = false;
        let server = Server::from_dir(folder.path(), &options).unwrap();
        let pem = std::fs::read(folder.path().join("ca-cert.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        let root = rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server,
            config: Arc::new(config),
            received: Arc::default(),
        }
    }

    /// The destination's end, which is cut, and what the source makes of its own.
    fn meet<R: Send>(
        &self,
        cut: usize,
        there: impl FnOnce(StreamOwned<ClientConnection, UnixStream>) -> R + Send,
        here: impl FnOnce(&mut dyn Transport),
    ) -> R {
        let (near, far) = UnixStream::pair().unwrap();
        self.received.store(0, Ordering::Relaxed);
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        thread::scope(|scope| {
            let source = scope.spawn(|| there(StreamOwned::new(connection, far)));
            let near = Cut {
                connection: SocketTransport::new(near).unwrap(),
                left: cut,
                received: Arc::clone(&self.received),
            };
            let mut session = self.server.accept(Box::new(near), LIMIT).unwrap();
            session.set_time_limit(Some(LIMIT));
            here(&mut *session);
            drop(session);
            source.join().unwrap()
        })
    }
}

/// The handshake, and records of both keys in one piece behind it.
#[test]
fn a_cut_at_each_byte_changes_nothing() {
    let ends = Ends::new();
    for cut in 0.. {
        let there = |mut source: StreamOwned<ClientConnection, UnixStream>| {
            while source.conn.is_handshaking() || source.conn.wants_write() {
                source.conn.complete_io(&mut source.sock).unwrap();
            }
            source.conn.writer().write_all(b"ping").unwrap();
            source.conn.refresh_traffic_keys().unwrap();
            source.conn.writer().write_all(b"pong").unwrap();
            let mut room = [0; 4];
            source.read_exact(&mut room).unwrap();
            assert_eq!(&room, b"well");
        };
        ends.meet(cut, there, |session| {
            let mut room = [0; 8];
            assert!(recv_all(session, &mut [(&mut room[..]).into()]).unwrap());
            assert_eq!(&room, b"pingpong", "cut at {cut}");
            send_all(session, &mut [b"well".as_slice().into()]).unwrap();
        });
        let received = ends.received.load(Ordering::Relaxed);
        assert!(received > 300, "a handshake and three records");
        if cut > received {
            return;
        }
    }
}

/// A peer that says nothing but new keys is a silent one.
#[test]
fn new_keys_gain_no_time() {
    let there = |mut source: StreamOwned<ClientConnection, UnixStream>| {
        while source.conn.is_handshaking() || source.conn.wants_write() {
            source.conn.complete_io(&mut source.sock).unwrap();
        }
        loop {
            source.conn.refresh_traffic_keys().unwrap();
            // Until the other side has had enough.
            match source.flush() {
                Ok(()) => thread::sleep(Duration::from_millis(50)),
                Err(_) => break,
            }
        }
    };
    Ends::new().meet(usize::MAX, there, |session| {
        session.set_time_limit(Some(Duration::from_millis(300)));
        let error = recv_all(session, &mut [(&mut [0; 8][..]).into()]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    });
}

/// The same for what comes to a source.
#[test]
fn a_cut_at_each_byte_changes_nothing_for_a_source() {
    let authority = Authority::new("authority");
    let (for_client, for_server) = (
        authority.folder("client", |_| ()),
        authority.folder("server", |_| ()),
    );
    let (client, server) = (client(for_client.path()), server(for_server.path()));
    for cut in 0.. {
        let (near, far) = UnixStream::pair().unwrap();
        let received = Arc::<AtomicUsize>::default();
        thread::scope(|scope| {
            let destination = scope.spawn(|| {
                let far = Box::new(SocketTransport::new(far).unwrap());
                let mut session = server.accept(far, LIMIT).unwrap();
                send(&mut *session, b"ping");
                send(&mut *session, b"pong");
                assert_eq!(receive(&mut *session, 4), b"well");
            });
            let near = Cut {
                connection: SocketTransport::new(near).unwrap(),
                left: cut,
                received: Arc::clone(&received),
            };
            let mut session = client.connect(Box::new(near), LIMIT).unwrap();
            assert_eq!(receive(&mut *session, 8), b"pingpong", "cut at {cut}");
            send(&mut *session, b"well");
            destination.join().unwrap();
        });
        let received = received.load(Ordering::Relaxed);
        assert!(received > 300, "a handshake and two records");
        if cut > received {
            return;
        }
    }
}

/// What comes behind the handshake is no record, or none that can be decrypted.
#[test]
fn garbage_is_an_error() {
    let ends = Ends::new();
    let mut state = 1_u32;
    for round in 0..200 {
        let len = 64 + round * 7;
        let mut garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(len)
        .collect();
        // Every other one looks like a record that is all there.
        if round % 2 == 1 {
            let body = u16::try_from(len - 5).unwrap().to_be_bytes();
            garbage[..5].copy_from_slice(&[0x17, 3, 3, body[0], body[1]]);
        } else {
            garbage[0] |= 0x80;
        }
        let there = |mut source: StreamOwned<ClientConnection, UnixStream>| {
            // Joined with the end of the handshake it would be a part of that.
            let mut room = [0; 4];
            source.read_exact(&mut room).unwrap();
            source.sock.write_all(&garbage).unwrap();
        };
        ends.meet(round, there, |session| {
            send(session, b"come");
            let mut room = [0; 16];
            let error = session.recv(&mut [(&mut room[..]).into()]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        });
    }
}
