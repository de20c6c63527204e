// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Destinations that have everything, and need time before they can say so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_core::transport::Transport;
use multifd_core::{ChannelCount, GuestMemory};
use multifd_migration::source::{GuestAfter, SourceEvent};
use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
use multifd_migration::{
    Connections, Destination, DestinationConfig, DestinationFailure, DestinationHost, GuestHere,
    HostError, Report, Source, SourceConfig, SourceFailure, SourceHandle, Work,
};
use multifd_tests::host::FileHost;
use multifd_tests::live::{self, Guest, Rate};
use multifd_tests::network::{self, Link, Watchdog};

use super::method;

/// How long the source waits for a destination that is silent.
const CONFIRM: Duration = Duration::from_secs(2);
const PAGES: u64 = 64;

/// A host that writes to a disk until the source knows that it does, and for longer than that waits for silence.
struct Disk {
    host: FileHost,
    source: SourceHandle,
}

impl DestinationHost for Disk {
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        self.host.memory(configuration, blocks)
    }

    fn work(&self) -> Work {
        Work::WritingToDisk
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        let start = Instant::now();
        while self.source.info().more.destination != Some(Work::WritingToDisk)
            || start.elapsed() < 2 * CONFIRM
        {
            if self.source.info().error_desc.is_some() {
                return Err("the source has given up".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.host.complete(devices)
    }
}

struct Outcome {
    source: Result<Report, SourceFailure>,
    destination: Result<Report, DestinationFailure>,
    guest: Guest,
    copy: GuestMemory,
}

fn migrate(config: SourceConfig) -> Result<Outcome> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    let copy = live::memory(PAGES)?;
    let none = method("none")?;
    let mut to = DestinationConfig::default();
    to.receiver.channels = ChannelCount::new(2).context("two channels")?;
    to.receiver.limits.confirm = CONFIRM;
    let destination = Destination::new(to, Arc::clone(&none));
    let connect = || -> Result<Box<dyn Transport>> {
        let (here, there, _) = network::pair(Link::default(), Link::default());
        destination.accept(Box::new(there))?;
        Ok(Box::new(here))
    };
    let connections = Connections::new(connect()?, vec![connect()?, connect()?])?;
    let source = Source::new(config, guest.memory(), none, connections)?;
    let mut host = Disk {
        host: FileHost::new(copy.clone()),
        source: source.handle(),
    };
    let (source, destination) = std::thread::scope(|scope| {
        let receives = scope.spawn(|| destination.run(&mut host));
        (source.run(&mut guest), receives.join())
    });
    let destination = destination.map_err(|_| anyhow::anyhow!("the destination panicked"))?;
    Ok(Outcome {
        source,
        destination,
        guest,
        copy,
    })
}

fn patient() -> SourceConfig {
    let mut config = SourceConfig::default();
    config.limits.confirm = CONFIRM;
    config
}

#[test]
fn one_that_says_so_is_waited_for() -> Result<()> {
    let _watchdog = Watchdog::start();
    let outcome = migrate(patient())?;
    outcome.source?;
    outcome.destination?;
    outcome.guest.check_copy(&outcome.copy)?;
    let said = outcome.guest.events.iter();
    let said = said.filter(|event| matches!(event, SourceEvent::DestinationWorks(_)));
    let said: Vec<_> = said.collect();
    ensure!(
        said == [&SourceEvent::DestinationWorks(Work::WritingToDisk)],
        "{said:?}"
    );
    Ok(())
}

#[test]
fn but_not_for_ever() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut config = patient();
    config.limits.work = CONFIRM;
    let outcome = migrate(config)?;
    let failure = outcome.source.err().context("it may not take so long")?;
    ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
    let text = failure.error.to_string();
    ensure!(
        text.contains("the destination has everything but has not confirmed it within 2 s")
            && text.ends_with("and was writing to disk when it last spoke"),
        "{text}"
    );
    let failure = outcome.destination.err().context("there is no guest")?;
    ensure!(failure.guest == GuestHere::NotHere, "{failure:?}");
    Ok(())
}

/// It gets no word that it does not know.
#[test]
fn a_source_that_knows_no_such_words_gets_none() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut config = patient();
    config.hand_over = false;
    let outcome = migrate(config)?;
    let failure = outcome.source.err().context("nothing was said")?;
    ensure!(failure.guest == GuestAfter::InDoubt, "{failure:?}");
    let text = failure.error.to_string();
    ensure!(
        text.ends_with("has everything but has not confirmed it within 2 s"),
        "{text}"
    );
    Ok(())
}
