// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A running command, and one that has ended.

use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `multifd`, killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    /// Lines on stderr, as they come.
    lines: mpsc::Receiver<String>,
    /// Lines on stdout, as they come.
    results: mpsc::Receiver<String>,
}

/// A `multifd` that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit status; `None` if a signal has killed it.
    pub code: Option<i32>,
    /// All that it wrote there.
    pub stdout: String,
    /// All that it wrote there.
    pub stderr: String,
}

impl Running {
    /// Starts what is, or becomes, the command.
    ///
    /// # Errors
    /// The system's.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_with(command, Stdio::piped())
    }

    /// Starts it with a stdout that nobody reads any more.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_unheard(command: &mut Command) -> Result<Self> {
        let (stdout, reader) = UnixStream::pair()?;
        drop(reader);
        Self::start_with(command, OwnedFd::from(stdout).into())
    }

    fn start_with(command: &mut Command, stdout: Stdio) -> Result<Self> {
        // Its relays are not to be found, nor in the way, where the user's own are.
        const USERS: &str = "XDG_RUNTIME_DIR";
        if !command.get_envs().any(|(name, _)| name == USERS) {
            command.env_remove(USERS);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let (send_line, lines) = mpsc::channel();
        let (send_result, results) = mpsc::channel();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take().context("no stderr")?;
        Ok(Self {
            child,
            stdout: stdout.map(|stdout| read_lines(stdout, send_result)),
            stderr: Some(read_lines(stderr, send_line)),
            lines,
            results,
        })
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// The system's.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for a line on stderr that has `part` in it; lines before it are gone.
    ///
    /// # Errors
    /// It ends without one, or does not write one within a minute.
    pub fn wait_line(&mut self, part: &str) -> Result<String> {
        let start = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(start.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return Ok(line),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        bail!("no line with {part:?}: {:?}", self.kill())
    }

    /// Waits for the next line on stdout.
    ///
    /// # Errors
    /// As [`Self::wait_line`].
    pub fn wait_result(&mut self) -> Result<String> {
        match self.results.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(_) => bail!("no line on stdout: {:?}", self.kill()),
        }
    }

    /// Waits for the address behind `listening on `, which a command with `--json` writes to stderr.
    ///
    /// # Errors
    /// As [`Self::wait_line`].
    pub fn wait_address(&mut self) -> Result<String> {
        const WORDS: &str = "listening on ";
        let line = self.wait_line(WORDS)?;
        let (_, address) = line.split_once(WORDS).context("the line was just found")?;
        Ok(address.to_owned())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It still runs after a minute.
    pub fn finish(mut self) -> Result<Finished> {
        let start = Instant::now();
        while self.is_running()? {
            if start.elapsed() > PATIENCE {
                bail!("still running: {:?}", self.kill());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.reap()
    }

    /// Kills it.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<Finished> {
        self.child.kill()?;
        self.reap()
    }

    fn reap(&mut self) -> Result<Finished> {
        let code = self.child.wait()?.code();
        let text =
            |thread: Option<JoinHandle<String>>| thread.and_then(|thread| thread.join().ok());
        Ok(Finished {
            code,
            stdout: text(self.stdout.take()).unwrap_or_default(),
            stderr: text(self.stderr.take()).unwrap_or_default(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The one JSON object on stdout, of a run that ended with `code`.
    ///
    /// # Errors
    /// Another exit status, or no JSON.
    pub fn json(&self, code: i32) -> Result<Value> {
        ensure!(
            self.code == Some(code),
            "wanted exit status {code}: {self:#?}"
        );
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:#?}"))
    }

    /// Checks how a run has ended: its exit status is one of `codes`, and stderr says all of `words`.
    ///
    /// # Errors
    /// It ended in another way.
    pub fn ended(&self, codes: &[i32], words: &[&str]) -> Result<()> {
        let expected = self.code.is_some_and(|code| codes.contains(&code));
        ensure!(expected, "wanted exit status of {codes:?}: {self:#?}");
        for word in words {
            ensure!(
                self.stderr.contains(word),
                "stderr lacks {word:?}: {self:#?}"
            );
        }
        Ok(())
    }

    /// Checks how a run has failed, as [`Self::ended`] does.
    ///
    /// # Errors
    /// It ended in another way, or `codes` has that of success.
    pub fn failed(&self, codes: &[i32], words: &[&str]) -> Result<()> {
        ensure!(
            !codes.contains(&0),
            "{codes:?}: exit status 0 is no failure"
        );
        self.ended(codes, words)
    }
}

/// Hands the lines on as they come, besides.
fn read_lines(from: impl Read + Send + 'static, lines: mpsc::Sender<String>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            text.push_str(&line);
            text.push('\n');
            // Nobody need wait for lines.
            let _ = lines.send(line);
        }
        text
    })
}

/// More than any run takes on a busy machine. What is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);
