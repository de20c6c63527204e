// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The control socket of a relay, on a thread of its own: JSON lines, in the form of QEMU's QMP.
//!
//! Clients are few, and known: root and the user that the relay runs as. What they do wrong costs them their connection
//! and nobody else anything: lines, answers, connections and patience are limited.

mod commands;
mod conversation;
mod request;

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::board::Board;
use crate::args::RelayArgs;
use crate::net::control_socket::{self, Asker, ControlSocket};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::log::SERVICE;
use conversation::Conversation;
use request::{Class, Refused};

/// Answers until it is dropped.
pub(super) struct Control {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens where the user says, or at the usual place if there is one and nobody else listens there.
    ///
    /// # Errors
    /// It cannot listen where the user says.
    pub(super) fn start(args: &RelayArgs, board: &Board) -> anyhow::Result<Option<Self>> {
        let (is_service, args) = (args.keep_listening, &args.control);
        let usual = || control_socket::of_relay().filter(|_| !args.no_control);
        let Some(path) = args.control.clone().or_else(usual) else {
            return Ok(None);
        };
        match ControlSocket::bind(&path) {
            Ok(socket) => Ok(Some(Self::serve(socket, board.clone())?)),
            Err(error) if args.control.is_some() => Err(cannot_listen(path, &error).into()),
            Err(error) => {
                let what = format!(
                    "cannot be asked: the control socket {}: {error}; --control gives it another one",
                    path.display()
                );
                match is_service {
                    true => log::warn!(target: SERVICE, "{what}"),
                    // It is over soon, and there may be many.
                    false => log::debug!("{what}"),
                }
                Ok(None)
            }
        }
    }

    fn serve(socket: ControlSocket, board: Board) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let hall = Hall {
            socket,
            board,
            stopped,
            conversations: Vec::new(),
            refused: 0,
        };
        let thread = thread::Builder::new().name("control".into());
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread.spawn(move || hall.run())?),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

/// The thread's part.
struct Hall {
    socket: ControlSocket,
    board: Board,
    /// Closed when it is to end.
    stopped: UnixStream,
    conversations: Vec<Conversation>,
    /// How many clients were sent away.
    refused: u64,
}

impl Hall {
    fn run(mut self) {
        loop {
            match self.wait() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    log::warn!(target: SERVICE, "the control socket: {error}");
                    // What it is short of may be there again later.
                    thread::sleep(PAUSE);
                }
            }
            self.accept();
            let board = &self.board;
            self.conversations.retain_mut(|conversation| {
                let asker = conversation.asker;
                conversation.step(&|line| commands::answer(board, asker, line))
            });
        }
    }

    /// Waits for something to do; answers whether to go on.
    fn wait(&mut self) -> io::Result<bool> {
        let limit = self.conversations.iter().filter_map(Conversation::left);
        let limit = limit.min().map(|left| left + ROUNDING);
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
        ];
        let conversations = self.conversations.iter();
        fds.extend(conversations.map(|conversation| {
            PollFd::from_borrowed_fd(conversation.as_fd(), conversation.wants())
        }));
        rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()))?;
        let is_stopped = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        Ok(!is_stopped || !matches!((&self.stopped).read(&mut [0]), Ok(0) | Err(_)))
    }

    /// Takes new clients. Too many, and the one that has been idle the longest has to go.
    fn accept(&mut self) {
        for _ in 0..MOST_CLIENTS {
            let (stream, asker) = match self.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::debug!("a client of the control socket: {error}");
                    thread::sleep(PAUSE);
                    return;
                }
            };
            if self.conversations.len() >= MOST_CLIENTS {
                let all = self.conversations.iter().enumerate();
                let idlest = all.max_by_key(|(_, conversation)| conversation.idle());
                if let Some((at, _)) = idlest {
                    self.conversations.remove(at);
                }
            }
            let conversation = self.welcome(stream, asker);
            self.conversations.push(conversation);
        }
    }

    /// Greets a client, or sends it away.
    fn welcome(&mut self, stream: UnixStream, asker: Asker) -> Conversation {
        if asker.is_trusted() {
            let greeting = json!({ "multifd-relay": {
                "version": env!("CARGO_PKG_VERSION"), "protocol": PROTOCOL, "pid": process::id(),
            }});
            return Conversation::new((stream, asker), &greeting);
        }
        self.refused += 1;
        let what = format!("{asker} may not ask this relay: only root and its own user may");
        // Whoever knocks without end does not fill the log.
        match self.refused.is_power_of_two() {
            true => log::warn!(target: SERVICE, "{what} ({} refused so far)", self.refused),
            false => log::debug!("{what}"),
        }
        let refused = Refused::new(Class::PermissionDenied, what).answer(None);
        let mut conversation = Conversation::new((stream, asker), &refused);
        conversation.end();
        conversation
    }
}

fn cannot_listen(path: PathBuf, error: &io::Error) -> Failure {
    let what = format!(
        "cannot listen on the control socket {}: {error}",
        path.display()
    );
    let failure = Failure::new(ExitCode::Connection, what);
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            failure.hint("another relay listens there, or it is no socket: choose another path")
        }
        io::ErrorKind::NotFound => failure.hint("make its folder first"),
        _ => failure,
    }
}

/// Of this conversation. What a client of this version can rely on is in docs/relay.md.
const PROTOCOL: u32 = 1;
/// Most connections at once.
const MOST_CLIENTS: usize = 16;
/// Where the system has no room.
const PAUSE: Duration = Duration::from_millis(100);
/// So that time is really over when it is looked at again.
const ROUNDING: Duration = Duration::from_millis(1);
