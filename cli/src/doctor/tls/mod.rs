// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A folder with credentials, under QEMU's names.

mod authority;
mod certificate;
mod file;
mod identity;
mod revoked;
mod trust;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use authority::Authorities;
use file::File;
use identity::{Identity, Role};
use revoked::Revoked;
use trust::Trust;

use super::finding::Finding;

/// What is in the folder, as it was read.
pub(crate) struct Folder {
    authorities: File,
    revoked: File,
    identities: [Identity; 2],
}

impl Folder {
    /// Reads the files that there are.
    pub(crate) fn read(dir: &Path) -> Self {
        let identity = |role: Role| Identity {
            role,
            certificate: File::read(dir, role.certificate()),
            key: File::read(dir, role.key()),
        };
        Self {
            authorities: File::read(dir, "ca-cert.pem"),
            revoked: File::read(dir, "ca-crl.pem"),
            identities: [Role::Server, Role::Client].map(identity),
        }
    }

    /// What is to be said of it at the time `now`.
    pub(crate) fn findings(&self, now: SystemTime) -> Vec<Finding> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let authorities = Authorities::of(&self.authorities);
        let revoked = Revoked::of(&self.revoked);
        let trust = Trust::new(authorities.roots(), revoked.lists());
        let mut findings = authorities.findings(now);
        findings.extend(revoked.findings(trust.refused_lists(), now));
        for identity in &self.identities {
            findings.extend(identity.findings(&trust, now));
        }
        let files = self.identities.iter().flat_map(Identity::files);
        let files = [&self.authorities, &self.revoked].into_iter().chain(files);
        findings.extend(files.filter_map(File::exposed));
        findings
    }
}

#[cfg(test)]
mod tests;
