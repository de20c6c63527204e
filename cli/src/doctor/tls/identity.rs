// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A host's own certificate and its key.

use std::net::IpAddr;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::certificate::Certificate;
use super::file::{Content, File};
use super::trust::Trust;
use crate::doctor::finding::{Finding, Problem};

/// What a host shows as one end of a migration.
pub(crate) struct Identity {
    pub(crate) role: Role,
    pub(crate) certificate: File,
    pub(crate) key: File,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A destination.
    Server,
    /// A source.
    Client,
}

impl Identity {
    pub(crate) fn files(&self) -> [&File; 2] {
        [&self.certificate, &self.key]
    }

    pub(crate) fn findings(&self, trust: &Trust, now: i64) -> Vec<Finding> {
        let (role, name) = (self.role, self.certificate.name);
        let chain = match self
            .certificate
            .all::<CertificateDer<'static>>("CERTIFICATE")
        {
            None if !self.key.is_there() => {
                let missing = Finding::missing(name, role.need());
                return vec![missing.advice(role.advice())];
            }
            None => {
                let what = format!("there is only its key, {}", self.key.name);
                return vec![Finding::missing(name, what).advice(role.advice())];
            }
            Some(Err(problem)) => {
                let unusable = Finding::unusable(name, &problem);
                return [unusable].into_iter().chain(self.key(None)).collect();
            }
            Some(Ok(chain)) => chain,
        };
        let mut findings = match chain.first().map(Certificate::parse) {
            Some(Ok(certificate)) => self.certificate(&certificate, &chain, trust, now),
            Some(Err(problem)) => vec![Finding::unusable(name, &problem)],
            None => Vec::new(),
        };
        findings.extend(self.key(Some(chain)));
        findings
    }

    fn certificate(
        &self,
        certificate: &Certificate,
        chain: &[CertificateDer<'static>],
        trust: &Trust,
        now: i64,
    ) -> Vec<Finding> {
        let (role, name) = (self.role, self.certificate.name);
        let subject = &certificate.subject;
        let subject = match role {
            Role::Server => Finding::ok(name, subject),
            Role::Client => Finding::ok(name, format!("--tls-authz '{subject}'")),
        };
        let mut findings = vec![subject, certificate.dates(name, now)];
        if role == Role::Server {
            findings.push(names(name, certificate));
        }
        let about = format!("{name} signature");
        findings.extend(trust.judge(chain, certificate.valid_time(now)).map(
            |signed| match signed {
                Ok(()) => Finding::ok(about, "of an authority of ca-cert.pem"),
                Err(problem) => Finding::unusable(about, &problem),
            },
        ));
        findings.push(match role.usage(certificate) {
            Ok(usage) => Finding::ok(format!("{name} usage"), usage),
            Err(problem) => Finding::unusable(format!("{name} usage"), &problem),
        });
        findings
    }

    /// `chain`: the certificate that it belongs to, if that can be read.
    fn key(&self, chain: Option<Vec<CertificateDer<'static>>>) -> Option<Finding> {
        let name = self.key.name;
        let certificate = self.certificate.name;
        let Some(keys) = self.key.all::<PrivateKeyDer<'static>>("PRIVATE KEY") else {
            let what = format!("without it {certificate} is of no use");
            let missing = Finding::missing(name, what);
            return Some(missing.advice("put the key there that the certificate was made for"));
        };
        let key = match keys.map(|keys| keys.into_iter().next()) {
            Ok(key) => key?,
            Err(problem) => {
                return Some(Finding::unusable(name, &self.password().unwrap_or(problem)));
            }
        };
        let belongs = CertifiedKey::from_der(chain?, key, &default_provider());
        Some(match belongs {
            Ok(_) => Finding::ok(name, format!("the key of {certificate}")),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let what = format!("it is not the key of {certificate}");
                let advice = "put the key there that the certificate was made for";
                Finding::unusable(name, &Problem::new(what, advice))
            }
            // The certificate's own findings say so.
            Err(Error::InvalidCertificate(_)) => return None,
            Err(error) => {
                let advice = "take a key of a usual kind: ECDSA with P-256, or RSA, as PKCS #8";
                Finding::unusable(name, &Problem::new(error.to_string(), advice))
            }
        })
    }

    /// The problem of a key that nobody is there to open.
    fn password(&self) -> Option<Problem> {
        let Content::Bytes { bytes, .. } = &self.key.content else {
            return None;
        };
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let has_one = lines.any(|line| {
            line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
                || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
        });
        has_one.then(|| {
            let name = self.key.name;
            let advice = format!("openssl pkey -in {name} -out NEW, and put NEW in its place");
            Problem::new("it has a password", advice)
        })
    }
}

impl Role {
    pub(crate) fn certificate(self) -> &'static str {
        match self {
            Self::Server => "server-cert.pem",
            Self::Client => "client-cert.pem",
        }
    }

    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Server => "server-key.pem",
            Self::Client => "client-key.pem",
        }
    }

    fn need(self) -> &'static str {
        match self {
            Self::Server => "this host can be no destination",
            Self::Client => "this host can be no source of a destination that verifies its peer",
        }
    }

    fn advice(self) -> String {
        let (certificate, key) = (self.certificate(), self.key());
        format!("if it is to be one, have a certificate signed: {certificate} and {key}")
    }

    /// Whether a certificate may be shown as this end.
    fn usage(self, certificate: &Certificate) -> Result<String, Problem> {
        let (is_for, usage, end) = match self {
            Self::Server => (certificate.for_servers, "serverAuth", "a destination"),
            Self::Client => (certificate.for_clients, "clientAuth", "a source"),
        };
        if !is_for {
            return Err(Problem::new(
                format!("it is not for {end}: its extendedKeyUsage lacks {usage}"),
                format!("have one signed with extendedKeyUsage={usage}"),
            ));
        }
        if !certificate.may_sign {
            return Err(Problem::new(
                "its key may not sign a handshake: its keyUsage lacks digitalSignature",
                "have one signed with keyUsage=digitalSignature,keyEncipherment, or without",
            ));
        }
        Ok(format!("for {end}"))
    }
}

/// By which names a destination may be called.
fn names(file: &str, certificate: &Certificate) -> Finding {
    let name = format!("{file} names");
    if !certificate.names.is_empty() {
        return Finding::ok(name, certificate.names.join(", "));
    }
    let (what, example) = match &certificate.common_name {
        Some(common) => {
            let kind = match common.parse::<IpAddr>() {
                Ok(_) => "IP",
                Err(_) => "DNS",
            };
            let what = format!("only a common name, {common}, which does not count");
            (what, format!("{kind}:{common}"))
        }
        None => ("none".into(), "DNS:NAME".into()),
    };
    let advice =
        format!("have one signed with what sources call this host, as subjectAltName={example}");
    Finding::unusable(name, &Problem::new(what, advice))
}
