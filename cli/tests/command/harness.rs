//! Runs the command, with memory to move.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Every method that the command has.
pub(crate) const METHODS: [&str; 6] = ["none", "zlib", "zstd", "qatzip", "qpl", "uadk"];

pub(crate) const PAGE: usize = 4096;

/// A running `multifd`, ended on drop.
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    /// Lines on stderr, as they come.
    lines: mpsc::Receiver<String>,
}

/// A `multifd` that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` if a signal has killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Starts the command.
pub(crate) fn start(args: &[&str]) -> Result<Running> {
    Running::new(Command::new(env!("CARGO_BIN_EXE_multifd")).args(args))
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str]) -> Result<Finished> {
    start(args)?.finish()
}

/// Starts a destination, with `--json`, and answers where it listens.
pub(crate) fn recv(from: &str, args: &[&str]) -> Result<(Running, String)> {
    let mut all = vec!["recv", "--json", "--from", from];
    all.extend(args);
    let mut running = start(&all)?;
    let line = running.wait_line("listening on ")?;
    let address = line.trim_start_matches("listening on ").to_owned();
    Ok((running, address))
}

/// Runs a source to its end, with `--json`.
pub(crate) fn send(to: &str, args: &[&str]) -> Result<Finished> {
    let mut all = vec!["send", "--json", "--to", to];
    all.extend(args);
    run(&all)
}

impl Running {
    /// Starts what becomes the command.
    pub(crate) fn new(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let (send_line, lines) = mpsc::channel();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                text.push_str(&line);
                text.push('\n');
                let _ = send_line.send(line);
            }
            text
        });
        Ok(Running {
            child,
            stdout: Some(stdout),
            stderr: Some(stderr),
            lines,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for a line on stderr that has `part` in it.
    pub(crate) fn wait_line(&mut self, part: &str) -> Result<String> {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(part) {
                return Ok(line);
            }
        }
        bail!("no line with {part:?}: {:?}", self.kill())
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                bail!("still running: {:?}", self.kill());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.ended()
    }

    fn kill(&mut self) -> Result<Finished> {
        self.child.kill()?;
        self.ended()
    }

    fn ended(&mut self) -> Result<Finished> {
        let text =
            |thread: Option<JoinHandle<String>>| thread.and_then(|thread| thread.join().ok());
        Ok(Finished {
            code: self.child.wait()?.code(),
            stdout: text(self.stdout.take()).unwrap_or_default(),
            stderr: text(self.stderr.take()).unwrap_or_default(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The one JSON object on stdout, of a run that ended with `code`.
    pub(crate) fn json(&self, code: i32) -> Result<Value> {
        ensure!(
            self.code == Some(code),
            "wanted exit status {code}: {self:#?}"
        );
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:#?}"))
    }

    /// Checks how a run has failed: its exit status is one of `codes`, and stderr says all of
    /// `words`.
    pub(crate) fn failed(&self, codes: &[i32], words: &[&str]) -> Result<()> {
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
}

/// A folder for one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path as an argument.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<String> {
        std::fs::write(self.path(name), content)?;
        Ok(self.text(name))
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let names = std::fs::read_dir(self.0.path())?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<std::io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    pub(crate) fn same(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (
            std::fs::read(self.path(one))?,
            std::fs::read(self.path(other))?,
        );
        ensure!(
            one == other,
            "{} bytes differ from {}",
            one.len(),
            other.len()
        );
        Ok(())
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        Path::exists(&self.path(name))
    }

    /// Waits until there is a file.
    pub(crate) fn wait_for(&self, name: &str) -> Result<()> {
        let start = Instant::now();
        while !self.exists(name) {
            ensure!(start.elapsed() < PATIENCE, "no {name}: {:?}", self.names());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Memory of a guest: text, zero pages, and what no method can compress, in turns.
pub(crate) fn guest(pages: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut memory = Vec::with_capacity(pages * PAGE);
    for page in 0..pages {
        match page % 7 {
            0 | 1 => memory.extend(std::iter::repeat_n(0, PAGE)),
            2..=4 => {
                let line = format!("page {page} of a guest that has something to say. ");
                memory.extend(line.bytes().cycle().take(PAGE));
            }
            _ => memory.extend(noise(&mut state, PAGE)),
        }
    }
    memory
}

/// Bytes that no method can compress.
pub(crate) fn noise(state: &mut u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        // Xorshift: good enough for that.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

/// More than any run takes on a busy machine. What is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);
