// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sockets that were opened for this process before it was started: systemd's socket activation.

use std::{env, process};

use listenfd::ListenFd;
use rustix::net::sockopt;

use crate::net::socket::Socket;
use crate::net::uri::Uri;
use crate::show::failure::Failure;
use crate::show::log::SERVICE;

/// The sockets that the environment names; none where it names another process or none.
pub(crate) struct Passed(Vec<Socket>);

impl Passed {
    /// Takes them, which can be done once, and before there is a second thread: the variables are removed.
    ///
    /// # Errors
    /// One of them is no socket that listens for tcp or unix connections.
    pub(crate) fn take() -> Result<Self, Failure> {
        let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(process::id()));
        if !is_ours {
            return Ok(Self(Vec::new()));
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut passed = ListenFd::from_env();
        let all = (0..passed.len()).map(|at| {
            let name = names.next().unwrap_or("without a name");
            let socket = socket(&mut passed, at).map_err(|why| unusable(at, name, &why))?;
            let uri = socket.uri();
            log::info!(target: SERVICE, "{uri} is socket {at} of the service manager ({name})");
            Ok(socket)
        });
        all.collect::<Result<_, _>>().map(Self)
    }

    /// With the socket of `address`, if that is none of theirs.
    ///
    /// # Errors
    /// There is neither, or the address cannot be listened on.
    pub(super) fn and(self, address: Option<&Uri>) -> Result<Vec<Socket>, Failure> {
        let Self(mut sockets) = self;
        if let Some(uri) = address
            && !sockets.iter().any(|socket| socket.uri() == uri)
        {
            sockets.push(Socket::at(uri)?);
        }
        if sockets.is_empty() {
            let what =
                "nothing to listen on: neither --listen ADDRESS nor a socket of a service manager";
            let hint = "give an address, or start it by a socket unit";
            return Err(Failure::usage(what).hint(hint));
        }
        Ok(sockets)
    }

    /// Where [they](Self::and) listen.
    pub(crate) fn addresses(&self, address: Option<&Uri>) -> Vec<Uri> {
        let own = self.0.iter().map(Socket::uri);
        own.chain(address).cloned().collect()
    }
}

fn unusable(at: usize, name: &str, why: &str) -> Failure {
    Failure::usage(format!(
        "socket {at} of the service manager ({name}) cannot be used: {why}"
    ))
    .hint("a socket unit needs ListenStream= with an address or a path, and no Accept=yes")
}

fn socket(passed: &mut ListenFd, at: usize) -> Result<Socket, String> {
    let wrong = |error: std::io::Error| error.to_string();
    if let Ok(Some(socket)) = passed.take_tcp_listener(at) {
        listens(sockopt::socket_acceptconn(&socket))?;
        return Socket::tcp(socket).map_err(wrong);
    }
    match passed.take_unix_listener(at).map_err(|_| NEITHER)? {
        Some(socket) => {
            listens(sockopt::socket_acceptconn(&socket))?;
            Socket::unix(socket).map_err(wrong)
        }
        None => Err(NEITHER.into()),
    }
}

fn listens(answer: rustix::io::Result<bool>) -> Result<(), String> {
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err("it does not listen".into()),
        Err(error) => Err(error.to_string()),
    }
}

const NEITHER: &str = "it is neither a tcp socket nor a unix stream socket";
