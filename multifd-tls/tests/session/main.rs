// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sessions between the crate's two sides, over sockets.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod authority;
mod bytes;
mod cuts;
mod trust;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{SocketTransport, Transport, recv_all, send_all};
use multifd_tls::{Client, Server, ServerOptions};

use authority::Authority;

type Side = io::Result<Box<dyn Transport>>;

const LIMIT: Duration = Duration::from_secs(20);

fn sockets() -> [Box<dyn Transport>; 2] {
    let (here, there) = UnixStream::pair().unwrap();
    [here, there].map(|end| Box::new(SocketTransport::new(end).unwrap()) as Box<dyn Transport>)
}

/// What comes of a handshake at the client and at the server.
fn meet(client: &Client, server: &Server) -> (Side, Side) {
    let [here, there] = sockets();
    thread::scope(|scope| {
        let accepted = scope.spawn(|| server.accept(there, LIMIT));
        let connected = client.connect(here, LIMIT);
        (connected, accepted.join().unwrap())
    })
}

fn client(folder: &Path) -> Client {
    Client::from_dir(folder, "localhost").unwrap()
}

fn server(folder: &Path) -> Server {
    Server::from_dir(folder, &ServerOptions::default()).unwrap()
}

/// Two ends that trust each other.
fn session() -> [Box<dyn Transport>; 2] {
    let authority = Authority::new("authority");
    let (here, there) = (
        authority.folder("client", |_| ()),
        authority.folder("server", |_| ()),
    );
    let (connected, accepted) = meet(&client(here.path()), &server(there.path()));
    [connected.unwrap(), accepted.unwrap()]
}

fn send(transport: &mut dyn Transport, bytes: &[u8]) {
    send_all(transport, &mut [IoVec::from(bytes)]).unwrap();
}

fn receive(transport: &mut dyn Transport, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert!(recv_all(transport, &mut [IoVecMut::from(&mut bytes[..])]).unwrap());
    bytes
}
