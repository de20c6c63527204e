// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Files
//!
//! | file | of |
//! |---|---|
//! | `ca-cert.pem` | both: who may sign the other side's certificate |
//! | `ca-crl.pem` | both, if there: what has been revoked |
//! | `server-cert.pem`, `server-key.pem` | a destination |
//! | `client-cert.pem`, `client-key.pem` | a source whose destination verifies its peer, the default |
//!
//! A side has a folder with these files, or configurations of rustls that the host has made
//! ([`Client::with_config`]): keys on a token, certificates of another kind.
//!
//! QEMU's pre-shared keys and anonymous credentials are not here: rustls has neither. Certificates of
//! an authority of one's own do the same work, see [`Server::from_dir`].

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
