// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A folder of credentials, with QEMU's names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::TlsError;

/// The folder of one side.
pub(crate) struct Folder<'a>(pub(crate) &'a Path);

/// A certificate with those that it is signed with, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Folder<'_> {
    /// Who may sign the other side's certificate.
    pub(crate) fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let path = self.0.join("ca-cert.pem");
        let certificates: Vec<CertificateDer<'static>> = all(&path, &read(&path)?, "certificate")?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| TlsError::Contents {
                path: path.clone(),
                what: format!("not an authority's certificate: {error}"),
            })?;
        }
        Ok(Arc::new(roots))
    }

    /// What has been revoked; nothing if there is no such file.
    pub(crate) fn revoked(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let path = self.0.join("ca-crl.pem");
        match fs::read(&path) {
            Ok(bytes) => all(&path, &bytes, "X509 CRL"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(TlsError::File { path, error }),
        }
    }

    /// `server`'s or `client`'s certificate and key.
    pub(crate) fn identity(&self, side: &str) -> Result<Identity, TlsError> {
        let path = self.0.join(format!("{side}-cert.pem"));
        let chain = all(&path, &read(&path)?, "certificate")?;
        let path = self.0.join(format!("{side}-key.pem"));
        let key =
            PrivateKeyDer::from_pem_slice(&read(&path)?).map_err(|error| TlsError::Contents {
                what: format!(
                    "{}, wanted a private key that has no password",
                    reason(&error)
                ),
                path,
            })?;
        Ok((chain, key))
    }

    /// As [`Self::identity`]; `None` if there is neither file.
    pub(crate) fn identity_if_there(&self, side: &str) -> Result<Option<Identity>, TlsError> {
        let is_there = |what: &str| self.0.join(format!("{side}-{what}.pem")).exists();
        match is_there("cert") || is_there("key") {
            true => self.identity(side).map(Some),
            false => Ok(None),
        }
    }

    /// An error about one of its files.
    pub(crate) fn wrong(&self, file: &str, error: &dyn std::fmt::Display) -> TlsError {
        TlsError::Contents {
            path: self.0.join(file),
            what: error.to_string(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File {
        path: PathBuf::from(path),
        error,
    })
}

/// All things of one kind in a PEM file, of which there is at least one.
fn all<T: PemObject>(path: &Path, bytes: &[u8], what: &str) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<T>, pem::Error> = T::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::Contents {
            path: path.into(),
            what: format!(
                "wanted \"-----BEGIN {}-----\", got none",
                what.to_uppercase()
            ),
        }),
        Err(error) => Err(TlsError::Contents {
            path: path.into(),
            what: reason(&error),
        }),
    }
}

fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is none in it".into(),
        error => format!("not a PEM file: {error}"),
    }
}
