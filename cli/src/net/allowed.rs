// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who may connect at all.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::net::uri::Uri;
use crate::show::failure::Failure;

/// Whose connections are taken; without a rule everybody's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    networks: Vec<Network>,
    users: Vec<u32>,
}

/// Some neighbouring addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(IpNet);

/// Who has made a connection, as far as a rule can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A host, over tcp.
    Host(IpAddr),
    /// A user of this host, over a unix socket.
    User(u32),
    /// Somebody of whom the system says nothing.
    Nobody,
}

impl Allowed {
    /// The rules for whoever connects to one of `addresses`.
    ///
    /// # Errors
    /// A rule that nobody who connects there could meet, or an address where nobody could meet any.
    pub(crate) fn at(
        addresses: &[Uri],
        networks: &[Network],
        users: &[u32],
    ) -> Result<Self, Failure> {
        let refuse = |what: &str, hint: &str| Err(Failure::usage(what).hint(hint));
        let has_unix = addresses.iter().any(|uri| matches!(uri, Uri::Unix(_)));
        let has_tcp = addresses.iter().any(|uri| matches!(uri, Uri::Tcp { .. }));
        match (networks.is_empty(), users.is_empty()) {
            (false, true) if has_unix => refuse(
                "--allow with a unix socket: who connects there has no address",
                "name the users that may connect: --allow-uid UID",
            ),
            (true, false) if has_tcp => refuse(
                "--allow-uid with tcp: who connects there is no user of this host",
                "name the addresses that may connect: --allow CIDR",
            ),
            (false, false) if !has_tcp => refuse(
                "--allow with unix sockets only: who connects there has no address",
                "leave it out: --allow-uid UID is enough",
            ),
            (false, false) if !has_unix => refuse(
                "--allow-uid with tcp only: who connects there is no user of this host",
                "leave it out: --allow CIDR is enough",
            ),
            _ => Ok(Self {
                networks: networks.to_vec(),
                users: users.to_vec(),
            }),
        }
    }

    /// Whether a connection of `caller` is taken.
    pub(crate) fn takes(&self, caller: Caller) -> bool {
        if self.networks.is_empty() && self.users.is_empty() {
            return true;
        }
        match caller {
            Caller::Host(address) => self.networks.iter().any(|network| network.has(address)),
            Caller::User(user) => self.users.contains(&user),
            Caller::Nobody => false,
        }
    }
}

impl Network {
    /// An IPv4 address in the clothes of IPv6, as a socket for both sees it, is the IPv4 address.
    fn has(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| {
            "wanted an address or a network, such as 192.0.2.0/24 or 2001:db8::/64".to_owned()
        })?;
        if network.addr() != network.network() {
            let (host, wide) = (network.addr(), network.trunc());
            return Err(format!(
                "{host} is one host of that network: wanted {wide} for all of it, or {host}"
            ));
        }
        Ok(Self(canonical(network)))
    }
}

/// What [`IpAddr::to_canonical`] is for an address.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(wide) = network else {
        return network;
    };
    let narrow = wide.addr().to_ipv4_mapped().and_then(|address| {
        let prefix = wide.prefix_len().checked_sub(MAPPED)?;
        Ipv4Net::new(address, prefix).ok()
    });
    narrow.map_or(network, IpNet::V4)
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => write!(f, "{}", address.to_canonical()),
            Self::User(user) => write!(f, "user {user}"),
            Self::Nobody => f.write_str("somebody unknown"),
        }
    }
}

/// Bits before the IPv4 address in an IPv6 address that is one.
const MAPPED: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(rules: &[&str], address: &str) -> bool {
        let networks: Vec<Network> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let address = address.parse().unwrap();
        let listens = "tcp:[::]:0".parse().unwrap();
        let allowed = Allowed::at(&[listens], &networks, &[]).unwrap();
        allowed.takes(Caller::Host(address))
    }

    #[test]
    fn hosts_of_a_network_are_taken() {
        for (rule, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "::ffff:192.0.2.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("2001:db8::5", "2001:db8::5", "2001:db8::6"),
            ("fe80::/10", "fe80::1", "fec0::1"),
        ] {
            assert!(takes(&[rule], inside), "{rule} {inside}");
            assert!(!takes(&[rule], outside), "{rule} {outside}");
            assert!(takes(&["198.51.100.1", rule], inside), "{rule} {inside}");
        }
    }

    #[test]
    fn without_a_rule_everybody_is_taken() {
        assert!(takes(&[], "203.0.113.9"));
        assert!(Allowed::default().takes(Caller::Nobody));
    }

    #[test]
    fn users_are_taken_by_number() {
        let socket = "unix:/x".parse().unwrap();
        let allowed = Allowed::at(&[socket], &[], &[0, 107]).unwrap();
        assert!(allowed.takes(Caller::User(107)));
        for other in [
            Caller::User(106),
            Caller::Nobody,
            Caller::Host([127, 0, 0, 1].into()),
        ] {
            assert!(!allowed.takes(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, words) in [
            ("", "wanted an address or a network"),
            ("host", "wanted an address or a network"),
            ("192.0.2.0/33", "wanted an address or a network"),
            ("192.0.2/24", "wanted an address or a network"),
            (
                "192.0.2.1/24",
                "wanted 192.0.2.0/24 for all of it, or 192.0.2.1",
            ),
            ("2001:db8::1/64", "wanted 2001:db8::/64 for all of it"),
        ] {
            let said = text.parse::<Network>().unwrap_err();
            assert!(said.contains(words), "{said}\nwanted {words}");
        }
    }

    #[test]
    fn a_rule_that_nobody_could_meet_is_refused() {
        let networks: &[Network] = &["192.0.2.1".parse().unwrap()];
        for (addresses, networks, users, words) in [
            ("unix:/x", networks, &[][..], "has no address"),
            ("unix:/x", networks, &[0], "has no address"),
            ("tcp:h:1", &[], &[0], "no user of this host"),
            ("tcp:h:1", networks, &[0], "no user of this host"),
            ("tcp:h:1 unix:/x", &[], &[0], "no user of this host"),
            ("unix:/x tcp:h:1", networks, &[], "has no address"),
        ] {
            let addresses = addresses.split(' ').map(|text| text.parse().unwrap());
            let addresses: Vec<Uri> = addresses.collect();
            let refused = Allowed::at(&addresses, networks, users).unwrap_err();
            assert!(refused.what.contains(words), "{refused}");
        }
    }

    #[test]
    fn each_of_two_kinds_of_address_has_rules_of_its_own() {
        let both = ["unix:/x".parse().unwrap(), "tcp:h:1".parse().unwrap()];
        let allowed = Allowed::at(&both, &["192.0.2.1".parse().unwrap()], &[7]).unwrap();
        for (caller, is_taken) in [
            (Caller::User(7), true),
            (Caller::User(8), false),
            (Caller::Host([192, 0, 2, 1].into()), true),
            (Caller::Host([192, 0, 2, 2].into()), false),
        ] {
            assert_eq!(allowed.takes(caller), is_taken, "{caller}");
        }
    }
}
