// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Certificates that are made on the spot, for two processes of this host.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A folder for a source and a destination at 127.0.0.1, which nobody else may read. Removed on drop.
pub(crate) struct Credentials(PathBuf);

impl Credentials {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let name = format!("multifd-tls-{}", process::id());
        let folder = Self(std::env::temp_dir().join(name));
        DirBuilder::new().mode(0o700).create(&folder.0)?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        folder.write("ca-cert.pem", authority.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(authority, key);
        for side in ["server", "client"] {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?;
            let certificate = certificate.signed_by(&key, &issuer)?;
            folder.write(&format!("{side}-cert.pem"), certificate.pem())?;
            folder.write(&format!("{side}-key.pem"), key.serialize_pem())?;
        }
        Ok(folder)
    }

    /// The setting for each side.
    pub(crate) fn setting(&self) -> String {
        format!("tls-creds={}", self.0.display())
    }

    fn write(&self, name: &str, pem: String) -> std::io::Result<()> {
        fs::write(self.0.join(name), pem)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_dir_all(&self.0);
    }
}
