// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! By which names a host is known.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::pki_types::DnsName;

/// The names of one host: the first is what its folder is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostNames {
    pub(crate) first: HostName,
    pub(crate) others: Vec<HostName>,
}

/// What others may call a host by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostName {
    Name(String),
    Address(IpAddr),
}

impl HostNames {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &HostName> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl FromStr for HostNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names = text.split(',').map(str::parse);
        let first: HostName = names.next().ok_or("wanted a name")??;
        let others = names.collect::<Result<_, _>>()?;
        if first.to_string().len() > LONGEST_COMMON_NAME {
            return Err(format!(
                "the first name has more than {LONGEST_COMMON_NAME} characters: name a shorter one or an \
                 address first"
            ));
        }
        Ok(Self { first, others })
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // It becomes the name of a folder, too.
        let name = DnsName::try_from(text).map_err(|_| {
            format!("{text:?} is not a host name or an address: wanted what the other host calls this one")
        })?;
        Ok(Self::Name(name.as_ref().to_owned()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// X.509's limit.
const LONGEST_COMMON_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        let names: HostNames = "a.example,192.0.2.1,2001:db8::1".parse().unwrap();
        let all: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a.example", "192.0.2.1", "2001:db8::1"]);
        assert!(matches!(names.first, HostName::Name(_)));
        assert!(matches!(
            names.others[..],
            [HostName::Address(_), HostName::Address(_)]
        ));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.{}", "a".repeat(40), "b".repeat(40));
        for text in [
            "",
            "a,",
            ",a",
            "..",
            "../x",
            "a/b",
            "*.example",
            "a b",
            "a\0",
            &long,
        ] {
            assert!(text.parse::<HostNames>().is_err(), "{text}");
        }
        // Another one may be as long as a name can be.
        assert!(format!("a,{long}").parse::<HostNames>().is_ok());
    }
}
