// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a certificate is one of those that the authorities have signed.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};

use super::certificate::NEW;
use crate::doctor::finding::Problem;

/// The authorities, and what they have revoked.
pub(crate) struct Trust {
    /// `None` without an authority.
    verifiers: Option<Verifiers>,
    refused_lists: Option<String>,
}

/// What the two ends of a session check each other with.
struct Verifiers {
    of_clients: Arc<dyn ClientCertVerifier>,
    of_servers: Arc<dyn ServerCertVerifier>,
}

impl Trust {
    pub(crate) fn new(
        roots: RootCertStore,
        lists: &[CertificateRevocationListDer<'static>],
    ) -> Self {
        let roots = Arc::new(roots);
        let (verifiers, refused_lists) = match Verifiers::new(&roots, lists) {
            Ok(verifiers) => (Some(verifiers), None),
            Err(VerifierBuilderError::InvalidCrl(error)) => {
                let without = Verifiers::new(&roots, &[]).ok();
                (without, Some(format!("not a revocation list: {error:?}")))
            }
            Err(_) => (None, None),
        };
        Self {
            verifiers,
            refused_lists,
        }
    }

    /// Why what has been revoked is not known.
    pub(crate) fn refused_lists(&self) -> Option<&str> {
        self.refused_lists.as_deref()
    }

    /// Whether an authority has signed the first certificate of `chain`, with the others between them, and has not revoked
    /// it. Its dates, its names and its usage do not matter. `None` if that cannot be said.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'static>],
        valid: Duration,
    ) -> Option<Result<(), Problem>> {
        let (first, others) = chain.split_first()?;
        let verifiers = self.verifiers.as_ref()?;
        let at = UnixTime::since_unix_epoch(valid);
        let error = match verifiers.as_client(first, others, at) {
            Err(error) if is_about_usage(&error) => verifiers.as_server(first, others, at).err(),
            verified => verified.err(),
        };
        match error {
            None => Some(Ok(())),
            Some(error) if is_about_usage(&error) => None,
            Some(error) => Some(Err(problem(&error))),
        }
    }
}

impl Verifiers {
    fn new(
        roots: &Arc<RootCertStore>,
        lists: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, VerifierBuilderError> {
        let provider = Arc::new(default_provider());
        let of_servers =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                .with_crls(lists.iter().cloned())
                .build()?;
        let of_clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider)
            .with_crls(lists.iter().cloned())
            .build()?;
        Ok(Self {
            of_clients,
            of_servers,
        })
    }

    fn as_client(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let verified = self.of_clients.verify_client_cert(first, others, at);
        verified.map(|_| ())
    }

    fn as_server(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        // The name is looked at last, so whoever has only the wrong one is signed.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let verified = self
            .of_servers
            .verify_server_cert(first, others, &name, &[], at);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            verified => verified.map(|_| ()),
        }
    }
}

fn is_about_usage(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
        )
    )
}

fn problem(error: &Error) -> Problem {
    use CertificateError as Why;
    let Error::InvalidCertificate(why) = error else {
        return Problem::new(error.to_string(), NEW);
    };
    match why {
        Why::UnknownIssuer | Why::BadSignature => Problem::new(
            "no authority of ca-cert.pem has signed it",
            "have this authority sign it, or take the ca-cert.pem of the one that has, at both ends",
        ),
        Why::Expired
        | Why::ExpiredContext { .. }
        | Why::NotValidYet
        | Why::NotValidYetContext { .. } => Problem::new(
            "a certificate between it and ca-cert.pem is not valid at the same time",
            "have the one between renewed, and put it behind this one in the file",
        ),
        Why::Revoked => Problem::new("ca-crl.pem says that it is revoked", NEW),
        Why::UnknownRevocationStatus => Problem::new(
            "ca-crl.pem has no list of the authority that has signed it, so it is refused",
            "add the list of each authority to ca-crl.pem, or remove the file",
        ),
        _ => Problem::new(error.to_string(), NEW),
    }
}
