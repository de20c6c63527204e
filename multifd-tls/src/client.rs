// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The source's side.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::transport::Transport;
use rustls::client::{ClientConnection, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, version};

use crate::TlsError;
use crate::folder::Folder;
use crate::handshake::negotiate;
use crate::later::Later;

/// Makes TLS sessions to a destination. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    /// With the credentials in a folder: `ca-cert.pem`, and `client-cert.pem` with `client-key.pem` if they are
    /// there. `name` is the host name or the address that the destination's certificate has to be for: QEMU's `tls-hostname`.
    ///
    /// # Errors
    /// A file that is missing or has not got what it should have; a name that is none.
    pub fn from_dir(dir: &Path, name: &str) -> Result<Self, TlsError> {
        let folder = Folder(dir);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(folder.roots()?, provider.clone())
                .with_crls(folder.revoked()?)
                .build()
                .map_err(|error| folder.wrong("ca-cert.pem", &error))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(TlsError::from)?
            .with_webpki_verifier(verifier);
        let config = match folder.identity_if_there("client")? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| folder.wrong("client-key.pem", &error))?,
            None => builder.with_no_client_auth(),
        };
        Self::with_config(Arc::new(config), name)
    }

    /// With a configuration of the host's own.
    ///
    /// # Errors
    /// [`TlsError::Name`].
    pub fn with_config(config: Arc<ClientConfig>, name: &str) -> Result<Self, TlsError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name {
            name: name.to_owned(),
        })?;
        Ok(Self { config, name })
    }

    /// Makes a session of a connection to the destination, within `limit`.
    ///
    /// # Errors
    /// The connection's, and what is wrong with the destination: a [`TlsError`] inside.
    pub fn connect(
        &self,
        transport: Box<dyn Transport>,
        limit: Duration,
    ) -> io::Result<Box<dyn Transport>> {
        let config = Arc::clone(&self.config);
        let session = ClientConnection::new(config, self.name.clone()).map_err(TlsError::from)?;
        negotiate(session.into(), transport, limit)
    }

    /// As [`Self::connect`], but the handshake is made by the first call that sends or receives, on its thread: so
    /// those of all channels go on at once. The main connection's comes before them, as a QEMU takes the first session for
    /// that of the main connection.
    #[must_use]
    pub fn connect_later(
        &self,
        transport: Box<dyn Transport>,
        limit: Duration,
    ) -> Box<dyn Transport> {
        let client = self.clone();
        let make = move |transport, limit| client.connect(transport, limit);
        Box::new(Later::new(transport, limit, make))
    }
}
