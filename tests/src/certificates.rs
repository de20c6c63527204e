// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Certificates for tests, in folders as QEMU has them.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use tempfile::TempDir;

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A destination.
    Server,
    /// A source.
    Client,
}

/// A folder with QEMU's file names, removed on drop.
#[derive(Debug)]
pub struct Credentials(TempDir);

impl Authority {
    /// An authority of this name, with a key of the kind that most have.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_keys(name, &PKCS_ECDSA_P256_SHA256)
    }

    /// An authority with a key of this kind.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_keys(name: &str, algorithm: &'static SignatureAlgorithm) -> Result<Self> {
        let key = KeyPair::generate_for(algorithm)?;
        let mut own = CertificateParams::default();
        own.distinguished_name = DistinguishedName::new();
        own.distinguished_name.push(DnType::CommonName, name);
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self {
            pem: own.self_signed(&key)?.pem(),
            issuer: Issuer::new(own, key),
        })
    }

    /// A folder for one host, which may be a source and a destination.
    ///
    /// # Errors
    /// The system's.
    pub fn host(&self, name: &str) -> Result<Credentials> {
        self.folder(name, &[Role::Server, Role::Client], |_| ())
    }

    /// A folder for a host that has only these roles, with certificates that are changed before they are signed.
    ///
    /// # Errors
    /// The system's.
    pub fn folder(
        &self,
        name: &str,
        roles: &[Role],
        change: impl Fn(&mut CertificateParams),
    ) -> Result<Credentials> {
        let folder = TempDir::with_prefix("multifd-pki-")?;
        fs::write(folder.path().join("ca-cert.pem"), &self.pem)?;
        for role in roles {
            let mut params = role.params(name)?;
            change(&mut params);
            let key = KeyPair::generate_for(self.issuer.key().algorithm())?;
            let signed = params.signed_by(&key, &self.issuer)?;
            let file = |what: &str| folder.path().join(format!("{}-{what}.pem", role.name()));
            fs::write(file("cert"), signed.pem())?;
            fs::write(file("key"), key.serialize_pem())?;
        }
        Ok(Credentials(folder))
    }

    /// The content of a `ca-crl.pem` in which the certificate with this number is revoked, and which is to be followed by
    /// another one in the year `next`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn revoke(&self, number: u64, next: i32) -> Result<String> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(number),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    fn params(self, name: &str) -> Result<CertificateParams> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        let subject = &mut params.distinguished_name;
        // A country is a PrintableString, or GnuTLS writes it as a number.
        let country = DnValue::PrintableString("GB".try_into()?);
        subject.push(DnType::CountryName, country);
        subject.push(DnType::OrganizationName, "Example, Inc.");
        subject.push(DnType::CommonName, name);
        params.extended_key_usages.push(match self {
            Self::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Client => ExtendedKeyUsagePurpose::ClientAuth,
        });
        Ok(params)
    }
}

impl Credentials {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder as a value of `tls-creds` for the command.
    #[must_use]
    pub fn text(&self) -> String {
        self.path().display().to_string()
    }

    /// The folder as an argument behind `-object`: credentials of a QEMU that is a source or a destination.
    #[must_use]
    pub fn object(&self, role: Role, verify_peer: bool) -> String {
        let switch = if verify_peer { "on" } else { "off" };
        let (dir, endpoint) = (self.path().display(), role.name());
        format!("tls-creds-x509,id=tls0,dir={dir},endpoint={endpoint},verify-peer={switch}")
    }

    /// The subject of its certificates in the form that `tls-authz` compares.
    #[must_use]
    pub fn subject(name: &str) -> String {
        format!("C=GB,O=Example\\, Inc.,CN={name}")
    }
}
