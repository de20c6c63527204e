// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One client of a relay's control socket.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::request::Refused;
use crate::net::control_socket::Asker;
use crate::show::output;

/// A connection, which never waits: it is asked when its peer is ready.
pub(super) struct Conversation {
    stream: UnixStream,
    pub(super) asker: Asker,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// When something came or went last.
    moved: Instant,
    /// Since when the client owes the rest of a line, or takes nothing.
    owes: Option<Instant>,
    /// It is closed once all has been sent.
    is_ending: bool,
}

impl Conversation {
    /// Begins with this line.
    pub(super) fn new(
        (stream, asker): (UnixStream, Asker),
        greeting: &impl serde::Serialize,
    ) -> Self {
        let mut conversation = Self {
            stream,
            asker,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            moved: Instant::now(),
            owes: None,
            is_ending: false,
        };
        conversation.say(greeting);
        conversation
    }

    /// Says no more than it has begun with.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
    }

    /// What it waits for.
    pub(super) fn wants(&self) -> PollFlags {
        match self.outgoing.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        }
    }

    /// How long it may go on if nothing moves; `None` for ever.
    pub(super) fn left(&self) -> Option<Duration> {
        let owes = self.owes?;
        Some(LIMIT.saturating_sub(owes.elapsed()))
    }

    /// How long nothing has come or gone.
    pub(super) fn idle(&self) -> Duration {
        self.moved.elapsed()
    }

    /// Sends and receives what can be, and answers whole lines, each once the one before it has been answered. Answers
    /// whether it goes on.
    pub(super) fn step(&mut self, answer: &dyn Fn(&[u8]) -> serde_json::Value) -> bool {
        let goes_on = self.try_step(answer).unwrap_or(false);
        let owes = !self.outgoing.is_empty() || !self.incoming.is_empty();
        if !owes {
            self.owes = None;
        } else if self.owes.is_none() {
            self.owes = Some(Instant::now());
        }
        goes_on && self.left() != Some(Duration::ZERO)
    }

    fn try_step(&mut self, answer: &dyn Fn(&[u8]) -> serde_json::Value) -> io::Result<bool> {
        if !self.send()? {
            return Ok(true);
        }
        if self.is_ending {
            return Ok(false);
        }
        // One piece, so that nobody is kept waiting by somebody else's.
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                self.incoming.extend(piece.iter().take(count));
                self.moved = Instant::now();
            }
            Err(error) if is_later(&error) => {}
            Err(error) => return Err(error),
        }
        self.answer_lines(answer)
    }

    /// Answers lines until one answer is not taken at once.
    fn answer_lines(&mut self, answer: &dyn Fn(&[u8]) -> serde_json::Value) -> io::Result<bool> {
        while let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n') {
            let rest = self.incoming.split_off(end + 1);
            let line = std::mem::replace(&mut self.incoming, rest);
            let line = line.trim_ascii();
            if !line.is_empty() {
                self.say(&answer(line));
            }
            self.owes = None;
            if !self.send()? {
                return Ok(true);
            }
        }
        if self.incoming.len() > LONGEST_LINE {
            let what = format!("a line of more than {LONGEST_LINE} bytes");
            self.incoming = Vec::new();
            self.say(&Refused::bad(what).answer(None));
            self.is_ending = true;
            return Ok(!self.send()?);
        }
        Ok(true)
    }

    fn say(&mut self, object: &impl serde::Serialize) {
        // Maps with texts as names are always JSON.
        let line = output::json_text(object).unwrap_or_default();
        self.outgoing.extend_from_slice(line.as_bytes());
        self.outgoing.push(b'\n');
    }

    /// Sends what is to be sent, as far as it is taken; answers whether that is all.
    fn send(&mut self) -> io::Result<bool> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.outgoing.drain(..count);
                    self.moved = Instant::now();
                    self.owes = None;
                }
                Err(error) if is_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // The memory of a long answer is not kept.
        self.outgoing = Vec::new();
        Ok(true)
    }
}

impl AsFd for Conversation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Longer than any request.
const LONGEST_LINE: usize = 64 << 10;
const PIECE: usize = 16 << 10;
/// How long a client may owe the rest of a line, or take nothing of an answer.
const LIMIT: Duration = Duration::from_secs(10);
