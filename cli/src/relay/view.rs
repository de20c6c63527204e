// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The migrations of a relay on a terminal: a line for each, below what is logged.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::board::{Board, Posted};
use crate::show::screen::Screen;
use crate::show::{output, relay_status};

/// Shows them until it is dropped.
pub(super) struct View {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl View {
    /// Nothing where stderr is no terminal.
    pub(super) fn start(board: &Board) -> io::Result<Option<Self>> {
        if !io::stderr().is_terminal() {
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let board = board.clone();
        let thread = thread::Builder::new().name("view".into());
        let thread = thread.spawn(move || show(&board, &stopped))?;
        Ok(Some(Self {
            stop: Some(stop),
            thread: Some(thread),
        }))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already, and concerns nobody but the viewer.
            let _ = thread.join();
        }
    }
}

fn show(board: &Board, stopped: &mpsc::Receiver<()>) {
    let screen = Screen::new();
    let mut lines: BTreeMap<usize, ProgressBar> = BTreeMap::new();
    while stopped.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
        let passages = board.passages();
        let is_there = |number: &usize| {
            let mut numbers = passages.iter().map(|posted| posted.identity.number);
            numbers.any(|there| there == *number)
        };
        lines.retain(|number, line| {
            let stays = is_there(number);
            if !stays {
                line.finish_and_clear();
                screen.lines().remove(line);
            }
            stays
        });
        for posted in passages.iter().take(MOST_LINES) {
            let line = lines
                .entry(posted.identity.number)
                .or_insert_with(|| screen.lines().add(new_line()));
            line.set_message(text(posted));
            line.tick();
        }
    }
    for line in lines.values() {
        line.finish_and_clear();
    }
}

fn new_line() -> ProgressBar {
    let line = ProgressBar::no_length();
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => line.with_style(style),
        Err(_) => line,
    }
}

fn text(posted: &Posted) -> String {
    let number = posted.identity.number;
    let migration = Value::Object(posted.figures());
    // A line is short: the log says which guest this is.
    let text = format!("migration {number}: {}", relay_status::line(&migration));
    output::safe(&text)
}

const REFRESH: Duration = Duration::from_millis(250);
/// More would not fit on a small terminal.
const MOST_LINES: usize = 16;
