// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! An authority that signs for a few hosts, and is forgotten.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::host_names::{HostName, HostNames};

/// Signs certificates; its key is in no file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    now: Duration,
}

/// A file of a folder with credentials.
pub(crate) struct CredentialFile {
    /// As QEMU calls it.
    pub(crate) name: &'static str,
    pub(crate) pem: String,
    /// Nobody else may read it.
    pub(crate) is_secret: bool,
}

impl Authority {
    /// A new one. What it signs is valid for [`VALID`].
    ///
    /// # Errors
    /// No key can be made.
    pub(crate) fn new(now: SystemTime) -> Result<Self, Error> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // No two of the same name: who confuses them is to read that the authority is another one.
        let mut own = params(now, &format!("multifd tls-setup {}", now.as_millis()));
        own.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        Ok(Self {
            pem: own.self_signed(&key)?.pem(),
            issuer: Issuer::new(own, key),
            now,
        })
    }

    /// The files of one host, which may be a source and a destination.
    ///
    /// # Errors
    /// No key can be made.
    pub(crate) fn host(&self, names: &HostNames) -> Result<Vec<CredentialFile>, Error> {
        let mut files = vec![CredentialFile {
            name: "ca-cert.pem",
            pem: self.pem.clone(),
            is_secret: false,
        }];
        for (usage, certificate, key) in [
            (
                ExtendedKeyUsagePurpose::ServerAuth,
                "server-cert.pem",
                "server-key.pem",
            ),
            (
                ExtendedKeyUsagePurpose::ClientAuth,
                "client-cert.pem",
                "client-key.pem",
            ),
        ] {
            let (signed, secret) = self.sign(names, usage)?;
            files.push(CredentialFile {
                name: certificate,
                pem: signed,
                is_secret: false,
            });
            files.push(CredentialFile {
                name: key,
                pem: secret,
                is_secret: true,
            });
        }
        Ok(files)
    }

    /// A certificate and its key.
    fn sign(
        &self,
        names: &HostNames,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<(String, String), Error> {
        let mut params = params(self.now, &names.first.to_string());
        for name in names.iter() {
            params.subject_alt_names.push(match name {
                HostName::Name(name) => SanType::DnsName(name.as_str().try_into()?),
                HostName::Address(address) => SanType::IpAddress(*address),
            });
        }
        params.is_ca = IsCa::ExplicitNoCa;
        // No key usage: where one is named, QEMU wants it to be for encipherment, too, which this kind of key cannot.
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        Ok((signed.pem(), key.serialize_pem()))
    }
}

/// What all certificates have in common.
fn params(now: Duration, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = date_time_ymd(1970, 1, 1) + now;
    params.not_before = now - EARLIER;
    params.not_after = now + VALID;
    params.distinguished_name = DistinguishedName::new();
    for (what, text) in [
        (DnType::OrganizationName, ORGANIZATION),
        (DnType::CommonName, name),
    ] {
        params.distinguished_name.push(what, text);
    }
    params
}

/// What the subjects of all certificates have, so that nobody takes them for more than they are.
pub(crate) const ORGANIZATION: &str = "multifd tls-setup";

/// For how long a certificate is valid: a year.
pub(crate) const VALID: Duration = Duration::from_secs(365 * DAY);

/// By how much a host's clock may be slow.
const EARLIER: Duration = Duration::from_secs(DAY);
const DAY: u64 = 24 * 60 * 60;
