// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a certificate says of itself.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::doctor::finding::{Finding, Problem};
use crate::show::clock;

/// A certificate's own words; whether they are true is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// As `--tls-authz` compares it.
    pub(crate) subject: String,
    pub(crate) common_name: Option<String>,
    /// Host names and addresses: its subject alternative names.
    pub(crate) names: Vec<String>,
    /// Seconds since 1970.
    pub(crate) from: i64,
    pub(crate) until: i64,
    pub(crate) is_authority: bool,
    /// Whether its key may sign a handshake.
    pub(crate) may_sign: bool,
    /// Whether its key may sign certificates.
    pub(crate) may_certify: bool,
    pub(crate) for_servers: bool,
    pub(crate) for_clients: bool,
}

impl Certificate {
    /// Reads it.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, Problem> {
        let wrong = |what: String| Problem::new(what, NEW);
        let subject = multifd_tls::subject(der).map_err(wrong)?;
        let (_, parsed) = X509Certificate::from_der(der)
            .map_err(|error| wrong(format!("not an X.509 certificate: {error}")))?;
        if parsed.version() != X509Version::V3 {
            let what = format!("it is of X.509 {}, wanted version 3", parsed.version());
            let advice = "have one signed with extensions, of which subjectAltName is one";
            return Err(Problem::new(what, advice));
        }
        let extensions = || -> Result<_, X509Error> {
            let usage = parsed.key_usage()?.map(|usage| usage.value);
            let purpose = parsed.extended_key_usage()?.map(|purpose| purpose.value);
            let names = parsed.subject_alternative_name()?;
            let names = names.map_or(&[][..], |names| &names.value.general_names);
            let common_name = parsed.subject().iter_common_name().last();
            Ok(Self {
                subject,
                common_name: common_name
                    .and_then(|name| name.as_str().ok())
                    .map(str::to_owned),
                names: names.iter().filter_map(host_name).collect(),
                from: parsed.validity().not_before.timestamp(),
                until: parsed.validity().not_after.timestamp(),
                is_authority: parsed.basic_constraints()?.is_some_and(|ca| ca.value.ca),
                may_sign: usage.is_none_or(|usage| usage.digital_signature()),
                may_certify: usage.is_none_or(|usage| usage.key_cert_sign()),
                for_servers: purpose.is_none_or(|purpose| purpose.server_auth),
                for_clients: purpose.is_none_or(|purpose| purpose.client_auth),
            })
        };
        extensions().map_err(|error| wrong(format!("an extension of it is wrong: {error}")))
    }

    /// A time at which it is valid, the next one to `now`.
    pub(crate) fn valid_time(&self, now: i64) -> Duration {
        let at = now.min(self.until).max(self.from);
        Duration::from_secs(u64::try_from(at).unwrap_or(0))
    }

    /// What its dates mean at the time `now`, for the file `name`.
    pub(crate) fn dates(&self, name: &str, now: i64) -> Finding {
        let name = format!("{name} dates");
        let (from, until) = (date(self.from), date(self.until));
        if now < self.from {
            let what = format!("not valid before {from}, and it is {}", date(now));
            let advice =
                "set this host's clock if it is wrong, or take a certificate that is valid";
            return Finding::unusable(name, &Problem::new(what, advice));
        }
        if now > self.until {
            let what = format!("expired on {until}, and it is {}", date(now));
            return Finding::unusable(name, &Problem::new(what, NEW));
        }
        let days = (self.until - now) / DAY;
        let finding = Finding::ok(name, format!("from {from} until {until}, {days} days left"));
        if days < SOON {
            return finding.advice("have a new one signed before that");
        }
        finding
    }
}

/// A time as text.
pub(crate) fn date(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST_SECOND);
    clock::rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn host_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            Some(address.ok()?.to_string())
        }
        _ => None,
    }
}

/// What is to be done about a certificate that is of no use.
pub(crate) const NEW: &str = "have a new one signed";

/// Of the year 9999, which a certificate may name and no later one.
const LAST_SECOND: u64 = 253_402_300_799;
const DAY: i64 = 24 * 60 * 60;
/// Days before the last one, from which on it is told.
const SOON: i64 = 30;
