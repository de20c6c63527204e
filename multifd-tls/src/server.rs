// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The destination's side.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::transport::Transport;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerConnection, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme, version,
};

use crate::TlsError;
use crate::folder::Folder;
use crate::handshake::negotiate;
use crate::later::Later;
use crate::subject::subject;

/// Makes TLS sessions of a source's connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
}

/// Which sources a destination takes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// A source needs a certificate that is signed by `ca-cert.pem`: QEMU's `verify-peer`. On.
    pub verify_peer: bool,
    /// The subject that its certificate must have, as GnuTLS writes it (`C=GB,O=Example,CN=source`), if only one source
    /// may connect: the identity of a QEMU's `authz-simple` object that `tls-authz` names.
    pub subject: Option<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            verify_peer: true,
            subject: None,
        }
    }
}

impl Server {
    /// With the credentials in a folder: `ca-cert.pem`, `server-cert.pem` and `server-key.pem`.
    ///
    /// # Errors
    /// A file that is missing or has not got what it should have; a subject without `verify_peer`.
    pub fn from_dir(dir: &Path, options: &ServerOptions) -> Result<Self, TlsError> {
        let folder = Folder(dir);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(TlsError::from)?;
        let builder = if options.verify_peer {
            let verifier = WebPkiClientVerifier::builder_with_provider(folder.roots()?, provider)
                .with_crls(folder.revoked()?)
                .build()
                .map_err(|error| folder.wrong("ca-cert.pem", &error))?;
            builder.with_client_cert_verifier(match &options.subject {
                Some(want) => Arc::new(OneSubject {
                    verifier,
                    want: want.clone(),
                }),
                None => verifier,
            })
        } else if options.subject.is_some() {
            let what = "a subject is wanted of a peer that is not verified";
            return Err(TlsError::Session(what.into()));
        } else {
            builder.with_no_client_auth()
        };
        let (chain, key) = folder.identity("server")?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| folder.wrong("server-key.pem", &error))?;
        // A source that never reads on its channels leaves them in the socket, and its close may become a reset.
        config.send_tls13_tickets = 0;
        Ok(Self::with_config(Arc::new(config)))
    }

    /// With a configuration of the host's own. It should send no tickets
    /// ([`send_tls13_tickets`](ServerConfig::send_tls13_tickets)): nobody reads them on a channel.
    pub fn with_config(config: Arc<ServerConfig>) -> Self {
        Self { config }
    }

    /// Makes a session of a source's connection, within `limit`.
    ///
    /// # Errors
    /// The connection's, and what is wrong with the source: a [`TlsError`] inside.
    pub fn accept(
        &self,
        transport: Box<dyn Transport>,
        limit: Duration,
    ) -> io::Result<Box<dyn Transport>> {
        let config = Arc::clone(&self.config);
        let session = ServerConnection::new(config).map_err(TlsError::from)?;
        negotiate(session.into(), transport, limit)
    }

    /// As [`Self::accept`], but the handshake is made by the first call that sends or receives, on its thread and within
    /// the time that the call has: whoever accepts connections waits for nobody, and what does not shake hands is
    /// one more stranger.
    #[must_use]
    pub fn accept_later(
        &self,
        transport: Box<dyn Transport>,
        limit: Duration,
    ) -> Box<dyn Transport> {
        let server = self.clone();
        let make = move |transport, limit| server.accept(transport, limit);
        Box::new(Later::new(transport, limit, make))
    }
}

/// Takes one subject only, of those that the other verifier takes.
#[derive(Debug)]
struct OneSubject {
    verifier: Arc<dyn ClientCertVerifier>,
    want: String,
}

impl ClientCertVerifier for OneSubject {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.verifier.verify_client_cert(certificate, others, now)?;
        let got = subject(certificate).map_err(rustls::Error::General)?;
        if got == self.want {
            return Ok(verified);
        }
        let want = self.want.clone();
        let error = OtherError(Arc::new(TlsError::Subject { got, want }));
        Err(CertificateError::Other(error).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
