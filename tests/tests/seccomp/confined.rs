// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Threads that get a filter when they are ready.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Result;
use multifd_core::{Spawn, StdThreads, ThreadKind};
use multifd_tests::system_calls::settle_malloc;
use parking_lot::Mutex;
use seccompiler::apply_filter;

use super::lists::{EACH, END, filter};

/// Threads that are confined to what is documented of their kind.
pub(crate) struct Confined {
    end: AtEnd,
    /// Starts the threads: a thread has the filters of the one that starts it, and this one has none.
    spawner: Mutex<Sender<(ThreadKind, Body)>>,
    /// How many threads of channels were ready.
    pub(crate) channels: AtomicUsize,
    /// How many others that stay what they are.
    pub(crate) others: AtomicUsize,
}

type Body = Box<dyn FnOnce() + Send>;

/// What a thread does when the engine has no more work for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// It waits for ever, as one of a pool.
    Stay,
    /// It exits, for which glibc has system calls of its own.
    Exit,
}

impl Confined {
    pub(crate) fn new(end: AtEnd) -> Result<Self> {
        settle_malloc()?;
        let (spawner, asked) = channel::<(ThreadKind, Body)>();
        thread::spawn(move || {
            for (kind, body) in asked {
                // Whoever waits for the thread finds its body dropped.
                let _ = StdThreads.spawn(kind, body);
            }
        });
        Ok(Self {
            end,
            spawner: Mutex::new(spawner),
            channels: AtomicUsize::new(0),
            others: AtomicUsize::new(0),
        })
    }

    fn rows(&self, row: &str) -> Vec<String> {
        let mut rows: Vec<_> = EACH.iter().map(ToString::to_string).collect();
        if self.end == AtEnd::Exit {
            rows.push(END.into());
        }
        rows.push(format!("`{row}`"));
        rows
    }
}

impl Spawn for Confined {
    fn spawn(&self, thread: ThreadKind, body: Body) -> io::Result<()> {
        let end = self.end;
        let body = move || {
            body();
            if end == AtEnd::Stay {
                loop {
                    thread::park();
                }
            }
        };
        let asked = self.spawner.lock().send((thread, Box::new(body)));
        asked.map_err(|_| io::Error::other("the spawner has ended"))
    }

    fn ready(&self, thread: ThreadKind) -> io::Result<()> {
        let row = match thread {
            ThreadKind::Send(_) => "Send",
            ThreadKind::Receive(_) => "Receive",
            ThreadKind::Accepted => "Accepted",
            ThreadKind::ReturnPath => "ReturnPath",
            ThreadKind::Work => "Work",
            ThreadKind::Drain => "Drain",
            other => return Err(io::Error::other(format!("no list of {other}"))),
        };
        let count = match thread {
            ThreadKind::Send(_) | ThreadKind::Receive(_) => &self.channels,
            _ => &self.others,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if thread == ThreadKind::Accepted {
            // The method is still to be set up, which may load a library.
            return Ok(());
        }
        let rows = self.rows(row);
        let rows: Vec<_> = rows.iter().map(String::as_str).collect();
        let filter = filter(&rows).map_err(io::Error::other)?;
        apply_filter(&filter).map_err(io::Error::other)
    }
}

/// Confines this thread to what is documented of the calls that it makes.
pub(crate) fn confine(calls: &[&str]) -> Result<()> {
    let rows = [calls, EACH, &[END]].concat();
    Ok(apply_filter(&filter(&rows)?)?)
}
