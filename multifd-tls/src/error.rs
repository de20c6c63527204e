// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes wrong, in the words of whoever has to mend it.

use std::io;
use std::path::PathBuf;

use rustls::CertificateError;

/// Credentials that cannot be used, or a peer that cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of a folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file of a folder has not got what it should have.
    #[error("{}: {what}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What was got, and what was wanted.
        what: String,
    },
    /// The name to verify is neither a host's nor an address.
    #[error(
        "{name:?} is not a host name or an address: wanted what the destination's certificate says"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The handshake failed, or what came behind it.
    #[error("TLS: {0}")]
    Session(String),
    /// The peer closed the connection within the handshake.
    #[error(
        "the peer closed the connection in the TLS handshake: is TLS on there, and does it accept this side's certificate?"
    )]
    Closed,
    /// The certificate's subject is another one.
    #[error("the peer's certificate is for {got:?}, wanted {want:?}")]
    Subject {
        /// The subject of the certificate.
        got: String,
        /// The one that may connect.
        want: String,
    },
}

impl TlsError {
    /// What rustls says in an error of reading or writing, in the same words as elsewhere.
    pub(crate) fn in_words(error: io::Error) -> io::Error {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match Option::<&rustls::Error>::cloned(cause) {
            Some(cause) => Self::from(cause).into(),
            None => error,
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Session(text(error))
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

fn text(error: rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, Error, InvalidMessage};
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS: is it on at both ends?".into()
        }
        Error::InvalidCertificate(error) => certificate(&error),
        Error::NoCertificatesPresented => {
            "the source has no certificate: it needs client-cert.pem and client-key.pem, signed by an authority of \
             this side's ca-cert.pem, or this side must not verify its peer"
                .into()
        }
        Error::PeerIncompatible(error) => format!("the peer has nothing in common with this side: {error:?}"),
        Error::AlertReceived(alert) => match alert {
            Alert::UnknownCA => {
                "the peer does not know the authority that signed this side's certificate: is ca-cert.pem the same?"
                    .into()
            }
            Alert::CertificateExpired => "the peer says that this side's certificate has expired".into(),
            Alert::CertificateRevoked => "the peer says that this side's certificate is revoked".into(),
            Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => {
                format!("the peer does not accept this side's certificate ({alert:?}): its log says why")
            }
            Alert::CertificateRequired => {
                "the peer wants a certificate of this side: client-cert.pem and client-key.pem".into()
            }
            Alert::AccessDenied => "the peer does not allow this side's certificate: tls-authz".into(),
            Alert::ProtocolVersion => "the peer does not support TLS 1.3".into(),
            alert => format!("the peer ended the session: {alert:?}"),
        },
        error => error.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the peer's certificate is not signed by an authority of ca-cert.pem".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the peer's certificate has expired: {error}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the peer's certificate is not valid yet, or a clock is wrong: {error}")
        }
        CertificateError::Revoked => "the peer's certificate is revoked, says ca-crl.pem".into(),
        CertificateError::NotValidForName => {
            "the peer's certificate is for another name: tls-hostname says which one is wanted"
                .into()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } if presented.is_empty() => format!(
            "the peer's certificate has no subject alternative name, wanted {}: a common name alone does not count",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "the peer's certificate is for {}, wanted {}: tls-hostname says which name is wanted",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the peer's certificate is not for this use: {error}")
        }
        CertificateError::Other(error) => error.to_string(),
        error => format!("the peer's certificate: {error}"),
    }
}
