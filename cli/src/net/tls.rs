// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! TLS over the connections of a migration, where it is on.

use std::io;
use std::path::Path;
use std::time::Duration;

use migration_params::Parameters;
use multifd_core::transport::{SocketTransport, Transport};
use multifd_tls::{Client, Server, ServerOptions, TlsError};

use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// What a source does with its connections: nothing, or TLS as the client.
#[derive(Clone, Debug)]
pub(crate) struct ClientSide {
    client: Option<Client>,
    /// Of a handshake.
    limit: Duration,
}

/// What a destination does with its connections: nothing, or TLS as the server.
#[derive(Clone, Debug)]
pub(crate) struct ServerSide {
    server: Option<Server>,
    /// Of a handshake.
    limit: Duration,
}

impl ClientSide {
    /// As `tls-creds` and `tls-hostname` say, for a destination at `to`. A handshake may take `limit`. The option that
    /// sets parameters is called `set`.
    ///
    /// # Errors
    /// Credentials that cannot be used; a name that is missing or means nothing; a parameter of the other side.
    pub(crate) fn new(
        parameters: &Parameters,
        set: &str,
        to: &Uri,
        limit: Duration,
    ) -> Result<Self, Failure> {
        refuse(
            !parameters.tls_authz.is_empty(),
            "tls-authz is not for a source: the destination says who may connect",
        )?;
        let (folder, name) = (&parameters.tls_creds, &parameters.tls_hostname);
        if folder.is_empty() {
            refuse(
                !name.is_empty(),
                "tls-hostname without tls-creds: nothing is encrypted",
            )?;
            return Ok(Self {
                client: None,
                limit,
            });
        }
        let name = match (name.as_str(), to) {
            ("", Uri::Tcp { host, .. }) if host.is_empty() => "localhost",
            ("", Uri::Tcp { host, .. }) => host,
            ("", Uri::Unix(_)) => {
                let what = "tls-creds without tls-hostname: a unix socket has no host";
                let hint = format!(
                    "give the name that the destination's certificate is for: {set} tls-hostname=NAME"
                );
                return Err(Failure::usage(what).hint(hint));
            }
            (name, _) => name,
        };
        let client = Client::from_dir(Path::new(folder.as_str()), name).map_err(unusable)?;
        Ok(Self {
            client: Some(client),
            limit,
        })
    }

    /// The main connection: its handshake comes before all others.
    ///
    /// # Errors
    /// The handshake failed.
    pub(crate) fn main(&self, connection: SocketTransport) -> io::Result<Box<dyn Transport>> {
        match &self.client {
            None => Ok(Box::new(connection)),
            Some(client) => client.connect(Box::new(connection), self.limit),
        }
    }

    /// A channel: it shakes hands on its own thread, before it sends anything.
    pub(crate) fn channel(&self, connection: SocketTransport) -> Box<dyn Transport> {
        match &self.client {
            None => Box::new(connection),
            Some(client) => client.connect_later(Box::new(connection), self.limit),
        }
    }
}

impl ServerSide {
    /// As `tls-creds` and `tls-authz` say. A handshake may take `limit`.
    ///
    /// # Errors
    /// Credentials that cannot be used; a parameter of the other side, or one without effect.
    pub(crate) fn new(
        parameters: &Parameters,
        verify_peer: bool,
        limit: Duration,
    ) -> Result<Self, Failure> {
        refuse(
            !parameters.tls_hostname.is_empty(),
            "tls-hostname is not for a destination: the source says whom it wants",
        )?;
        let (folder, subject) = (&parameters.tls_creds, &parameters.tls_authz);
        if folder.is_empty() {
            refuse(
                !subject.is_empty(),
                "tls-authz without tls-creds: nobody has a certificate",
            )?;
            refuse(
                !verify_peer,
                "--tls-verify-peer without tls-creds: nothing is encrypted",
            )?;
            return Ok(Self {
                server: None,
                limit,
            });
        }
        let mut options = ServerOptions::default();
        options.verify_peer = verify_peer;
        options.subject = (!subject.is_empty()).then(|| subject.as_str().to_owned());
        let server = Server::from_dir(Path::new(folder.as_str()), &options).map_err(unusable)?;
        Ok(Self {
            server: Some(server),
            limit,
        })
    }

    /// Whether connections are encrypted.
    pub(crate) fn is_on(&self) -> bool {
        self.server.is_some()
    }

    /// A connection, once it has shaken hands where that is to be done.
    ///
    /// # Errors
    /// It did not, as was wanted.
    pub(crate) fn shake_hands(
        &self,
        connection: SocketTransport,
    ) -> io::Result<Box<dyn Transport>> {
        match &self.server {
            None => Ok(Box::new(connection)),
            Some(server) => server.accept(Box::new(connection), self.limit),
        }
    }

    /// A connection of which nothing is known: whoever reads from it first shakes hands.
    pub(crate) fn accept(&self, connection: SocketTransport) -> Box<dyn Transport> {
        match &self.server {
            None => Box::new(connection),
            Some(server) => server.accept_later(Box::new(connection), self.limit),
        }
    }
}

/// The failure for a main connection to `to` that could not be secured.
pub(crate) fn handshake_failed(to: &Uri, error: &io::Error) -> Failure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let code = match cause {
        None | Some(TlsError::Closed) => ExitCode::Connection,
        Some(_) => ExitCode::Peer,
    };
    Failure::new(code, format!("source: no TLS session with {to}: {error}"))
}

fn refuse(broken: bool, what: &str) -> Result<(), Failure> {
    match broken {
        true => Err(Failure::usage(what)),
        false => Ok(()),
    }
}

/// A folder is an argument.
fn unusable(error: TlsError) -> Failure {
    let is_missing = matches!(error, TlsError::File { .. });
    let failure = Failure::usage(format!("tls-creds: {error}"));
    match is_missing {
        true => {
            failure.hint("tls-creds is a folder with the files of QEMU's tls-creds-x509 objects")
        }
        false => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(set: &[(&str, &str)], to: &str) -> String {
        let parameters = parameters(set);
        let side = ClientSide::new(&parameters, "--set", &to.parse().unwrap(), Duration::ZERO);
        side.map(|side| side.client.is_some().to_string())
            .unwrap_or_else(|failure| failure.to_string())
    }

    fn server(set: &[(&str, &str)], verify_peer: bool) -> String {
        let side = ServerSide::new(&parameters(set), verify_peer, Duration::ZERO);
        side.map(|side| side.server.is_some().to_string())
            .unwrap_or_else(|failure| failure.to_string())
    }

    fn parameters(set: &[(&str, &str)]) -> Parameters {
        let mut settings = migration_params::Settings::default();
        for (name, value) in set {
            settings.set(&format!("{name}={value}")).unwrap();
        }
        settings.parameters
    }

    #[test]
    fn nothing_is_ignored_that_would_be_missed() {
        assert_eq!(client(&[], "tcp:host:1"), "false");
        assert_eq!(server(&[], true), "false");
        let folder = ("tls-creds", "/nonexistent");
        for (said, want) in [
            (
                client(&[("tls-hostname", "x")], "tcp:host:1"),
                "nothing is encrypted",
            ),
            (
                client(&[folder, ("tls-authz", "CN=x")], "tcp:host:1"),
                "not for a source",
            ),
            (client(&[folder], "unix:/x"), "without tls-hostname"),
            (
                client(&[folder], "tcp:host:1"),
                "cannot read /nonexistent/ca-cert.pem",
            ),
            (
                server(&[("tls-authz", "CN=x")], true),
                "nobody has a certificate",
            ),
            (
                server(&[folder, ("tls-hostname", "x")], true),
                "not for a destination",
            ),
            (server(&[], false), "nothing is encrypted"),
            (
                server(&[folder], true),
                "cannot read /nonexistent/ca-cert.pem",
            ),
        ] {
            assert!(said.contains(want), "{said}\nwanted {want}");
        }
    }
}
