// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Addresses of migrations, in QEMU's notation.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use multifd_core::wire::Uuid;

/// Where a migration goes to or comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Uri {
    /// `tcp:HOST:PORT`. An empty host is every address of this host to listen on, and this host to
    /// connect to.
    Tcp { host: String, port: u16 },
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// What is no address, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; wanted tcp:HOST:PORT, tcp:[IPV6]:PORT or unix:PATH")]
pub(crate) struct UriError {
    what: String,
}

impl Uri {
    /// The address for one guest: `{uuid}` in a path becomes its UUID.
    pub(crate) fn for_guest(&self, uuid: Uuid) -> Self {
        match self {
            Self::Unix(path) => match path.to_str() {
                Some(path) => Self::Unix(path.replace(UUID, &uuid.to_string()).into()),
                None => self.clone(),
            },
            Self::Tcp { .. } => self.clone(),
        }
    }
}

/// What stands for a guest's UUID.
const UUID: &str = "{uuid}";

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        match text.split_once(':') {
            Some(("tcp", rest)) => tcp(rest),
            Some(("unix", "")) => Err(wrong("unix: without a path")),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some((scheme @ ("fd" | "file" | "exec" | "rdma" | "vsock"), _)) => {
                Err(wrong(format!("{scheme}: is not supported")))
            }
            Some((host, port)) if port.parse::<u16>().is_ok() => Err(wrong(format!(
                "{text:?} has no scheme: write tcp:{}:{port}",
                host.escape_debug()
            ))),
            _ => Err(wrong(format!("{text:?} is not a valid address"))),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn tcp(text: &str) -> Result<Uri, UriError> {
    let shown = text.escape_debug();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest
            .split_once("]:")
            .ok_or_else(|| wrong(format!("tcp:{shown} has no ]:PORT")))?,
        None => text
            .rsplit_once(':')
            .ok_or_else(|| wrong(format!("tcp:{shown} has no port")))?,
    };
    if host.contains(':') && !text.starts_with('[') {
        let what = format!("tcp:{shown} is ambiguous: write an IPv6 address in [ ]");
        return Err(wrong(what));
    }
    if port.contains(',') {
        return Err(wrong(format!("tcp:{shown}: options are not supported")));
    }
    let port = port
        .parse()
        .map_err(|_| wrong(format!("the port is {port:?}, wanted 0 to 65535")))?;
    Ok(Uri::Tcp {
        host: host.into(),
        port,
    })
}

fn wrong(what: impl Into<String>) -> UriError {
    UriError { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for (text, host, port) in [
            ("tcp:192.0.2.1:4444", "192.0.2.1", 4444),
            ("tcp:host.example:1", "host.example", 1),
            ("tcp:[::1]:0", "::1", 0),
            ("tcp::65535", "", 65535),
        ] {
            let uri = Uri::Tcp {
                host: host.into(),
                port,
            };
            assert_eq!(text.parse(), Ok(uri.clone()));
            assert_eq!(uri.to_string(), text);
        }
        for path in ["/run/a:b", "relative", "with space"] {
            let uri = Uri::Unix(path.into());
            assert_eq!(format!("unix:{path}").parse(), Ok(uri.clone()));
            assert_eq!(uri.to_string(), format!("unix:{path}"));
        }
    }

    #[test]
    fn a_guest_has_its_own_path() {
        let uuid = Uuid::parse("12345678-9abc-def0-1234-56789abcdef0").unwrap();
        let of = |text: &str| text.parse::<Uri>().unwrap().for_guest(uuid).to_string();
        assert_eq!(
            of("unix:/run/{uuid}/in"),
            "unix:/run/12345678-9abc-def0-1234-56789abcdef0/in"
        );
        for same in ["unix:/run/uuid", "tcp:host:1"] {
            assert_eq!(of(same), same);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_advice() {
        for (text, advice) in [
            ("", "is not a valid address"),
            ("host:4444", "write tcp:host:4444"),
            ("tcp:host", "has no port"),
            ("tcp:::1:4444", "in [ ]"),
            ("tcp:[::1]4444", "has no ]:PORT"),
            ("tcp:host:65536", "0 to 65535"),
            ("tcp:host:-1", "0 to 65535"),
            ("tcp:host:4444,ipv4=on", "options"),
            ("unix:", "without a path"),
            ("exec:cat", "not supported"),
            ("\x1b[1m\nh:1", r"write tcp:\u{1b}[1m\nh:1"),
            ("tcp:\n", r"tcp:\n has no port"),
            ("tcp:[\n", r"tcp:[\n has no"),
            ("tcp:\n:1:1", r"tcp:\n:1:1 is ambiguous"),
            ("tcp:h:\n,", r"tcp:h:\n,: options"),
        ] {
            let error = text.parse::<Uri>().unwrap_err().to_string();
            assert!(error.contains(advice), "{text}: {error}");
            assert!(error.contains("wanted tcp:HOST:PORT"), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}
