// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Certificates for a test, in folders as QEMU has them.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use tempfile::TempDir;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A folder with the authority, and a certificate for `side`.
    pub(crate) fn folder(
        &self,
        side: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TempDir {
        let folder = self.folder_without_certificate();
        self.add(folder.path(), side, change);
        folder
    }

    pub(crate) fn folder_without_certificate(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca-cert.pem"), &self.pem).unwrap();
        folder
    }

    fn add(&self, folder: &Path, side: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        let country = "GB".try_into().unwrap();
        name.push(DnType::CountryName, DnValue::PrintableString(country));
        name.push(DnType::OrganizationName, "Example, Inc.");
        name.push(DnType::CommonName, side);
        params.extended_key_usages = vec![match side {
            "server" => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |what: &str, pem: String| {
            fs::write(folder.join(format!("{side}-{what}.pem")), pem).unwrap();
        };
        write("cert", certificate.pem());
        write("key", key.serialize_pem());
    }
}
