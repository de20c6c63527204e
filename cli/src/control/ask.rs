// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A conversation with a running relay.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::args::{RelayChoice, Which};
use crate::net::control_socket;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// A relay that answers.
pub(super) struct Relay {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Relay {
    /// Connects to the relay that is meant.
    ///
    /// # Errors
    /// There is none, or it does not answer this user.
    pub(super) fn connect(choice: &RelayChoice) -> anyhow::Result<Self> {
        let paths = match &choice.control {
            Some(path) => vec![path.clone()],
            None => control_socket::of_relays(),
        };
        let mut denied = None;
        for path in &paths {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::greet(stream, path),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    denied.get_or_insert(path);
                }
                Err(_) => {}
            }
        }
        match denied {
            Some(path) => Err(not_allowed(path).into()),
            None => Err(nobody(&paths).into()),
        }
    }

    fn greet(stream: UnixStream, path: &Path) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut relay = Self {
            stream: BufReader::new(stream),
            path: path.to_owned(),
        };
        let greeting = relay.line()?.unwrap_or_default();
        if let Some(error) = greeting.get("error") {
            return Err(refused(error).into());
        }
        if greeting.get("multifd-relay").is_none() {
            let what = format!("{}: no relay answers there", path.display());
            return Err(Failure::new(ExitCode::Peer, what).into());
        }
        Ok(relay)
    }

    /// Has it do something; `None` once it has ended.
    ///
    /// # Errors
    /// It refuses, with the exit status for that; or it does not answer.
    pub(super) fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
    ) -> anyhow::Result<Option<Value>> {
        let request = json!({ "execute": command, "arguments": arguments });
        match writeln!(self.stream.get_mut(), "{request}") {
            Err(error) if is_end(&error) => return Ok(None),
            result => result.with_context(|| self.silent())?,
        }
        let Some(mut answer) = self.line()? else {
            return Ok(None);
        };
        match (
            answer.get_mut("return").map(Value::take),
            answer.get("error"),
        ) {
            (Some(value), None) => Ok(Some(value)),
            (_, Some(error)) => Err(refused(error).into()),
            (None, None) => {
                let what = format!("the relay's answer is invalid: {answer}");
                Err(Failure::new(ExitCode::Peer, what).into())
            }
        }
    }

    /// As [`Self::execute`], for a relay that is not to have ended.
    ///
    /// # Errors
    /// As there; it has ended.
    pub(super) fn expect(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let answer = self.execute(command, arguments)?;
        answer.ok_or_else(|| {
            let what = "the relay ended before it answered";
            Failure::new(ExitCode::Connection, what).into()
        })
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> anyhow::Result<Option<Value>> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => {
                let what = || format!("{}: the answer is not JSON", self.path.display());
                Ok(Some(serde_json::from_str(&line).with_context(what)?))
            }
            Err(error) if is_end(&error) => Ok(None),
            Err(error) => {
                let what = format!("{}: {error}", self.silent());
                Err(Failure::new(ExitCode::Connection, what).into())
            }
        }
    }

    fn silent(&self) -> String {
        format!("the relay on {} does not answer", self.path.display())
    }
}

/// The migration, as a request names it.
pub(super) fn named(which: Which) -> Value {
    match which {
        Which::Number(number) => number.into(),
        Which::Uuid(uuid) => uuid.to_string().into(),
    }
}

/// What the relay does not want to do.
fn refused(error: &Value) -> Failure {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = match text("class") {
        "PermissionDenied" => ExitCode::Local,
        "MigrationNotFound" | "BadRequest" => ExitCode::Usage,
        _ => ExitCode::Peer,
    };
    let failure = Failure::new(code, text("desc"));
    match text("class") {
        "PermissionDenied" => failure.hint(AS_WHOM),
        "MigrationNotFound" => failure.hint("multifd status lists them"),
        _ => failure,
    }
}

fn not_allowed(path: &Path) -> Failure {
    let what = format!("{}: this user may not ask the relay", path.display());
    Failure::new(ExitCode::Local, what).hint(AS_WHOM)
}

fn nobody(paths: &[PathBuf]) -> Failure {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let what = format!("no relay listens on {}", paths.join(" or on "));
    Failure::new(ExitCode::Connection, what).hint(
        "start one with: multifd relay --keep-listening --control PATH --listen ADDRESS --to ADDRESS; \
         and give the same --control PATH here",
    )
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

const AS_WHOM: &str = "ask as root, or as the user that the relay runs as";
/// A relay answers at once.
const PATIENCE: Duration = Duration::from_secs(10);
