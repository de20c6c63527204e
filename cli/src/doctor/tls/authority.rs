// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `ca-cert.pem`: who may sign.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::file::File;
use crate::doctor::finding::{Finding, Problem};

/// The authorities that are trusted.
pub(crate) struct Authorities {
    name: &'static str,
    /// What the file lacks to be of use.
    state: Option<Result<Vec<Authority>, Problem>>,
}

type Authority = (CertificateDer<'static>, Result<Certificate, Problem>);

impl Authorities {
    pub(crate) fn of(file: &File) -> Self {
        let read = |der: CertificateDer<'static>| {
            let parsed = Certificate::parse(&der);
            (der, parsed)
        };
        let all = file.all("CERTIFICATE");
        Self {
            name: file.name,
            state: all.map(|all| all.map(|all| all.into_iter().map(read).collect())),
        }
    }

    /// Those that certificates can be checked with.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        if let Some(Ok(all)) = &self.state {
            roots.add_parsable_certificates(all.iter().map(|(der, _)| der.clone()));
        }
        roots
    }

    pub(crate) fn findings(&self, now: i64) -> Vec<Finding> {
        let name = self.name;
        let all = match &self.state {
            None => {
                let what = "who may sign the other end's certificate is not known";
                let advice = "put the certificate of your authority there, as both ends have it";
                return vec![Finding::missing(name, what).advice(advice)];
            }
            Some(Err(problem)) => return vec![Finding::unusable(name, problem)],
            Some(Ok(all)) => all,
        };
        let mut findings = Vec::new();
        for (number, (_, parsed)) in all.iter().enumerate() {
            let name = match all.len() {
                1 => name.to_owned(),
                _ => format!("{name} ({})", number + 1),
            };
            match parsed {
                Ok(certificate) => {
                    let dates = certificate.dates(&name, now);
                    findings.extend([authority(name, certificate), dates]);
                }
                Err(problem) => findings.push(Finding::unusable(name, problem)),
            }
        }
        findings
    }
}

fn authority(name: String, certificate: &Certificate) -> Finding {
    let subject = &certificate.subject;
    if certificate.is_authority && certificate.may_certify {
        return Finding::ok(name, subject);
    }
    let lacks = match certificate.is_authority {
        false => "basicConstraints=CA:TRUE",
        true => "keyUsage=keyCertSign",
    };
    let what = format!("{subject} is not an authority: it lacks {lacks}");
    let advice = "put the certificate there that has signed those of the hosts";
    Finding::unusable(name, &Problem::new(what, advice))
}
