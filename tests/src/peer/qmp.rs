// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QMP, QEMU's control protocol: JSON objects, one to a line.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A QMP session past its greeting.
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    /// The bytes of a line that is not complete yet.
    line: Vec<u8>,
    events: VecDeque<Value>,
    next_id: u64,
}

/// A command that QEMU refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpError {
    /// The command's name.
    pub command: String,
    /// QEMU's error class, `GenericError` nearly always.
    pub class: String,
    /// QEMU's explanation.
    pub description: String,
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "QEMU refused {}: {}: {}",
            self.command, self.class, self.description
        )
    }
}

impl Error for QmpError {}

impl Qmp {
    /// Waits for the greeting and leaves capabilities negotiation.
    pub(super) fn new(stream: UnixStream, deadline: Instant) -> Result<Self> {
        let mut qmp = Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
            events: VecDeque::new(),
            next_id: 0,
        };
        let greeting = qmp.read(deadline)?.context("QMP did not greet in time")?;
        if greeting.get("QMP").is_none() {
            bail!("wanted a QMP greeting, got {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}), deadline)?;
        Ok(qmp)
    }

    pub(super) fn execute(
        &mut self,
        command: &str,
        arguments: Value,
        deadline: Instant,
    ) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": id});
        let mut bytes = serde_json::to_vec(&request)?;
        bytes.push(b'\n');
        self.stream
            .get_mut()
            .write_all(&bytes)
            .with_context(|| format!("QMP {command}"))?;
        loop {
            let mut message = self
                .read(deadline)
                .with_context(|| format!("QMP {command}"))?
                .with_context(|| format!("QMP {command}: no answer in time"))?;
            if message.get("event").is_some() {
                self.events.push_back(message);
            } else if message.get("id") == Some(&json!(id)) {
                return match message.get_mut("return") {
                    Some(value) => Ok(value.take()),
                    None => Err(refusal(command, &message).into()),
                };
            }
            // Else the answer to a command whose deadline had passed.
        }
    }

    /// Takes the oldest event called `name` that nobody has taken yet.
    pub(super) fn wait_event(&mut self, name: &str, deadline: Instant) -> Result<Value> {
        let is_wanted = |event: &Value| event.get("event").is_some_and(|value| value == name);
        if let Some(at) = self.events.iter().position(is_wanted) {
            return self.events.remove(at).context("the event was just found");
        }
        loop {
            let message = self
                .read(deadline)
                .with_context(|| format!("waiting for QMP event {name}"))?
                .with_context(|| format!("no QMP event {name} in time"))?;
            if is_wanted(&message) {
                return Ok(message);
            }
            if message.get("event").is_some() {
                self.events.push_back(message);
            }
        }
    }

    /// Reads one message; `None` if the deadline comes first.
    fn read(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A timeout of zero would mean to wait for ever.
            let timeout = left.max(Duration::from_millis(1));
            self.stream.get_ref().set_read_timeout(Some(timeout))?;
            match self.stream.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let message = serde_json::from_slice(&self.line);
                    self.line.clear();
                    return Ok(Some(message.context("not JSON from QMP")?));
                }
                Ok(_) => bail!("QEMU closed the QMP connection"),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if left.is_zero() {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e).context("reading from QMP"),
            }
        }
    }
}

fn refusal(command: &str, message: &Value) -> QmpError {
    let text = |key: &str| {
        let value = message.get("error").and_then(|error| error.get(key));
        value.and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    QmpError {
        command: command.to_owned(),
        class: text("class"),
        description: text("desc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Runs `Qmp` against a peer that sends `script` and never reads.
    fn scripted(script: &'static [&'static str]) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            for part in script {
                theirs.write_all(part.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
            // Held open so that a reader runs into its deadline and not into the end of the stream.
            thread::sleep(Duration::from_millis(200));
        });
        ours
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn joins_split_lines_and_keeps_events() {
        let stream = scripted(&[
            "{\"QMP\": {}",
            "}\r\n{\"event\": \"STOP\"}\r\n{\"return\": {}, \"id\": 0}\r\n",
            "{\"event\": \"RESUME\"}\r\n{\"return\": {\"status\"",
            ": \"paused\"}, \"id\": 1}\r\n",
        ]);
        let mut qmp = Qmp::new(stream, soon()).unwrap();
        let answer = qmp.execute("query-status", json!({}), soon()).unwrap();
        assert_eq!(answer, json!({"status": "paused"}));
        let resume = qmp.wait_event("RESUME", soon()).unwrap();
        assert_eq!(resume, json!({"event": "RESUME"}));
        let stop = qmp.wait_event("STOP", soon()).unwrap();
        assert_eq!(stop, json!({"event": "STOP"}));
    }

    #[test]
    fn a_refusal_keeps_class_and_description() {
        let stream = scripted(&[
            "{\"QMP\": {}}\n{\"return\": {}, \"id\": 0}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}, \"id\": 1}\n",
        ]);
        let mut qmp = Qmp::new(stream, soon()).unwrap();
        let error = qmp.execute("stop", json!({}), soon()).unwrap_err();
        let refusal: &QmpError = error.downcast_ref().unwrap();
        assert_eq!(refusal.command, "stop");
        assert_eq!(refusal.description, "no such thing");
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let stream = scripted(&["{\"QMP\": {}}\n{\"return\": {}, \"id\": 0}\n{\"half\""]);
        let mut qmp = Qmp::new(stream, soon()).unwrap();
        let error = qmp
            .wait_event("STOP", Instant::now() + Duration::from_millis(20))
            .unwrap_err();
        assert_eq!(error.to_string(), "no QMP event STOP in time");
    }
}
