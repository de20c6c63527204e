// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A host that refuses a thread, of whatever kind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::{ChannelCount, Fault, Spawn, StdThreads, ThreadKind};
use multifd_migration::source::GuestAfter;
use multifd_migration::{DestinationConfig, SourceConfig};
use multifd_tests::live::{Guest, Pair, Rate};

use crate::failure::pair;

struct Refusing(ThreadKind);

impl Spawn for Refusing {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        if thread != self.0 {
            return StdThreads.spawn(thread, body);
        }
        // Before the migration goes on: it could be over by then.
        let ended = std::thread::spawn(body).join();
        ended.map_err(|_| io::Error::other("the thread panicked"))
    }

    fn ready(&self, thread: ThreadKind) -> io::Result<()> {
        match thread == self.0 {
            true => Err(io::Error::other("no filter for it")),
            false => Ok(()),
        }
    }
}

#[test]
fn the_guest_stays_where_it_is() -> Result<()> {
    let first = ChannelCount::default().ids().next().context("a channel")?;
    for thread in [
        ThreadKind::Send(first),
        ThreadKind::Accepted,
        ThreadKind::Receive(first),
        ThreadKind::ReturnPath,
        ThreadKind::Work,
    ] {
        let mut guest = Guest::start(256, Rate::Pages(500))?;
        let threads: Arc<dyn Spawn> = Arc::new(Refusing(thread));
        let mut config = SourceConfig::default();
        config.threads = Arc::clone(&threads);
        let mut destination = DestinationConfig::default();
        destination.receiver.threads = threads;
        // For a source that has failed before it said anything on the main connection.
        destination.receiver.limits.main = Duration::from_secs(2);
        let pair = Pair { config, ..pair()? };
        let reason = format!("the host refused the thread {thread}: no filter for it");
        let error = match pair.migrate_to(destination, &mut guest, |_| ()) {
            // A source that cannot be made.
            Err(error) => format!("{error:#}"),
            Ok(outcome) => {
                let failure = outcome.source.err().context("it arrived")?;
                ensure!(failure.guest == GuestAfter::Here, "{thread}: {failure}");
                let there = outcome.destination.err().context("it arrived")?;
                match failure.error.fault() {
                    Fault::Caller => failure.to_string(),
                    _ => there.to_string(),
                }
            }
        };
        ensure!(error.contains(&reason), "{thread}: {error}");
        ensure!(guest.is_running(), "{thread}");
    }
    Ok(())
}
