// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `ca-crl.pem`: what has been revoked.

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::date;
use super::file::File;
use crate::doctor::finding::{Finding, Problem};

/// The lists of what has been revoked.
pub(crate) struct Revoked {
    name: &'static str,
    lists: Option<Result<Vec<CertificateRevocationListDer<'static>>, Problem>>,
}

impl Revoked {
    pub(crate) fn of(file: &File) -> Self {
        Self {
            name: file.name,
            lists: file.all("X509 CRL"),
        }
    }

    pub(crate) fn lists(&self) -> &[CertificateRevocationListDer<'static>] {
        match &self.lists {
            Some(Ok(lists)) => lists,
            _ => &[],
        }
    }

    /// `refused`: why none of them can be used, if so.
    pub(crate) fn findings(&self, refused: Option<&str>, now: i64) -> Vec<Finding> {
        match &self.lists {
            None => vec![Finding::ok(
                self.name,
                "not there: nothing counts as revoked",
            )],
            Some(Err(problem)) => vec![Finding::unusable(self.name, problem)],
            Some(Ok(lists)) => match refused {
                Some(why) => vec![Finding::unusable(self.name, &Problem::new(why, NEW_LIST))],
                None => lists.iter().map(|list| self.finding(list, now)).collect(),
            },
        }
    }

    fn finding(&self, list: &CertificateRevocationListDer<'_>, now: i64) -> Finding {
        let parsed = match CertificateRevocationList::from_der(list) {
            Ok((_, parsed)) => parsed,
            Err(error) => {
                let what = format!("not a revocation list: {error}");
                return Finding::unusable(self.name, &Problem::new(what, NEW_LIST));
            }
        };
        let (issuer, number) = (parsed.issuer(), parsed.iter_revoked_certificates().count());
        let what = format!("{number} revoked by {issuer}");
        match parsed.next_update().map(|next| next.timestamp()) {
            Some(next) if next < now => {
                let what = format!("{what}; a newer list was due on {}", date(next));
                Finding::unusable(self.name, &Problem::new(what, NEW_LIST))
            }
            Some(next) => Finding::ok(
                self.name,
                format!("{what}; the next is due on {}", date(next)),
            ),
            None => Finding::ok(self.name, what),
        }
    }
}

const NEW_LIST: &str = "put a new list of the authority there";
