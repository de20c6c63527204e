// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a QEMU's channels end.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use migration_params::Parameters;
use multifd_core::transport::SocketTransport;
use multifd_migration::{Destination, DestinationConfig};
use multifd_tests::certificates::{Credentials, Role};
use multifd_tests::host::{self, FileHost, file_memory};
use multifd_tests::interop::steps::{LIMIT, Link};
use multifd_tests::peer::RAM_BLOCK;
use multifd_tests::wiretap::Wiretap;
use multifd_tls::Server;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::rig::{HOST, Rig, content, creds, with_each};

/// A QEMU never reads on its channels, so that tickets stay in its sockets. It shuts those down before it closes them:
/// with tickets as without, the end of a channel comes before what closing a socket with unread bytes may send.
#[test]
fn they_end_in_order() -> Result<()> {
    with_each(|rig| {
        for tickets in [0, 2] {
            let resets = resets(rig, tickets)?;
            ensure!(resets == 0, "{tickets} tickets, {resets} resets");
        }
        Ok(())
    })
}

/// Receives from a QEMU with a server that sends so many tickets; answers how many of its connections were reset.
fn resets(rig: &Rig, tickets: usize) -> Result<usize> {
    let content = content();
    let (ours, theirs) = (rig.authority.host(HOST)?, rig.authority.host(HOST)?);
    let object = theirs.object(Role::Client, true);
    let machine = rig.machine("source", &content)?.args(["-object", &object]);
    let mut qemu = machine.start()?;
    rig.prepare(&mut qemu, Link::PLAIN, creds("tls0"))?;
    let server = server(&ours, tickets)?;
    let destination = Destination::new(
        DestinationConfig::default(),
        host::open(&Parameters::default())?,
    );
    std::fs::write(rig.path("new"), vec![0; content.len()])?;
    let mut host = FileHost::new(file_memory(&[(RAM_BLOCK, &rig.path("new"))])?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let tap = Wiretap::start(&format!("tcp:{}", listener.local_addr()?))?;
    thread::scope(|scope| -> Result<()> {
        let accepts = scope.spawn(|| -> Result<()> {
            for _ in 0..3 {
                let socket = SocketTransport::tcp(listener.accept()?.0, LIMIT)?;
                let connection = server.accept_later(Box::new(socket), Duration::from_secs(30));
                destination.accept(connection)?;
            }
            Ok(())
        });
        qemu.migrate(tap.address())?;
        destination.run(&mut host)?;
        qemu.wait_status(&["completed"], LIMIT)?;
        accepts.join().ok().context("a panic")?
    })?;
    ensure!(
        std::fs::read(rig.path("new"))? == content,
        "other memory arrived"
    );
    tap.resets()
}

fn server(credentials: &Credentials, tickets: usize) -> Result<Server> {
    let read = |name: &str| std::fs::read(credentials.path().join(name));
    let certificate = CertificateDer::from_pem_slice(&read("server-cert.pem")?)?;
    let key = PrivateKeyDer::from_pem_slice(&read("server-key.pem")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.send_tls13_tickets = tickets;
    Ok(Server::with_config(Arc::new(config)))
}
