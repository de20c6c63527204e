// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Faults that a peer can have, one row of a table each, against the commands that it can meet.
//!
//! Each row is a process of its own. What a row must come to is its exit status, what it says, that it ends by itself,
//! and how much memory it takes at most.

mod beside;
mod channels;
mod destinations;
mod main_stream;
mod payloads;
mod play;
mod row;
mod silence;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::Multifd;

use row::{Kind, Row};

/// Rows that run at once: most of them wait for something.
const AT_ONCE: usize = 6;

fn rows() -> Vec<Row> {
    let mut rows = channels::rows();
    rows.extend(payloads::rows());
    rows.extend(main_stream::rows());
    rows.extend(silence::rows());
    rows
}

/// Runs `check` for each of these, several at once, and says of all that fail what they came to.
fn each<T: Sync>(
    all: &[T],
    name: impl Fn(&T) -> String + Sync,
    check: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = thread::scope(|scope| {
        let worker = || {
            let mut failures = Vec::new();
            while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = check(one) {
                    failures.push(format!("{}: {error:#}", name(one)));
                }
            }
            failures
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(thread::ScopedJoinHandle::join);
        results
            .map(|result| result.unwrap_or_else(|_| vec!["a panic".into()]))
            .collect::<Vec<_>>()
            .concat()
    });
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn all_rows(kind: Kind) -> Result<()> {
    let multifd = Multifd::build()?;
    let rows = rows();
    each(
        &rows,
        |row| row.name.to_owned(),
        |row| match row.end(kind) {
            Some(end) => play::run(&multifd, kind, row, end).context(kind.name()),
            None => Ok(()),
        },
    )
}

#[test]
fn sources_against_recv() -> Result<()> {
    all_rows(Kind::Recv)
}

#[test]
fn sources_against_recv_that_saves() -> Result<()> {
    all_rows(Kind::Save)
}

#[test]
fn sources_against_relay() -> Result<()> {
    all_rows(Kind::Relay)
}

#[test]
fn destinations_against_send() -> Result<()> {
    let multifd = Multifd::build()?;
    each(
        &destinations::rows(),
        |row| row.name.to_owned(),
        |row| destinations::run(&multifd, row),
    )
}
