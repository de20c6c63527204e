// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! TLS for every connection of a migration.
//!
//! A [`Client`] or a [`Server`] makes a [`Transport`] of another one: the source is the client and the destination is the
//! server, on the main connection as well as on each channel, each with a handshake of its own. That is what QEMU does
//! with the parameter `tls-creds`, and its files serve here, too:
//!
//! | file | of |
//! |---|---|
//! | `ca-cert.pem` | both: who may sign the other side's certificate |
//! | `ca-crl.pem` | both, if there: what has been revoked |
//! | `server-cert.pem`, `server-key.pem` | a destination |
//! | `client-cert.pem`, `client-key.pem` | a source whose destination verifies its peer, the default |
//!
//! ```no_run
//! use std::time::Duration;
//! use multifd_core::transport::{SocketTransport, Transport};
//! use multifd_tls::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::from_dir("/etc/pki/qemu".as_ref(), "destination.example.org")?;
//! let socket = std::net::TcpStream::connect("192.0.2.1:4444")?;
//! let socket = SocketTransport::tcp(socket, Duration::from_secs(60))?;
//! let main: Box<dyn Transport> = client.connect(Box::new(socket), Duration::from_secs(30))?;
//! # Ok(())
//! # }
//! ```
//!
//! TLS 1.3 only. It needs the file names of a folder, or configurations of rustls that the host has made
//! ([`Client::with_config`]): keys on a token, certificates of another kind. Another implementation of TLS is brought
//! behind the trait [`Transport`] in the same way.
//!
//! Pre-shared keys and anonymous credentials, which QEMU has as well, are not: rustls has neither. Private
//! certificates do the same work, see [`Server::from_dir`].
//!
//! [`Transport`]: multifd_core::transport::Transport

mod client;
mod error;
mod folder;
mod handshake;
mod later;
mod server;
mod session;
mod staged;
mod subject;

pub use client::Client;
pub use error::TlsError;
pub use server::{Server, ServerOptions};
pub use subject::subject;
