// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that was kept, on its way again.

use std::sync::Arc;

use anyhow::{Context, Result};
use multifd_core::{ChannelCount, GuestMemory};
use multifd_migration::{Connections, Destination, DestinationConfig, Source, SourceConfig};

use crate::fuzzing::channel::Joined;
use crate::fuzzing::early::Taken;
use crate::fuzzing::guest::Taker;
use crate::fuzzing::limits::MOMENT;
use crate::fuzzing::parts;
use crate::fuzzing::script::{Script, Sent};

/// What is accepted can be sent, and is taken.
pub(super) fn give_back(
    mut config: SourceConfig,
    memory: GuestMemory,
    threads: &Arc<Joined>,
) -> Result<()> {
    config.threads = Arc::clone(threads) as _;
    let early = Taken::of(config.early_sections.as_deref());
    // Of some, nothing says when all of it is there.
    let has_packets = !config.device_packets.is_empty();
    let (uuid, tail, machine) = (config.uuid, config.tail.clone(), config.machine.clone());
    let method = parts::open_method(0)?;
    let ends = [(); 2].map(|()| Script::new(&[]));
    let sent = ends.each_ref().map(Script::sent);
    let [main, channel] = ends;
    let connections = Connections::one_way(Box::new(main), vec![Box::new(channel)]);
    let source = Source::new(config, memory, Arc::clone(&method), connections)?.run_stopped();
    assert!(source.is_ok(), "{:?}", source.err());

    let mut config = DestinationConfig::default();
    config.receiver.uuid = Some(uuid);
    config.receiver.channels = ChannelCount::new(1).context("one channel")?;
    config.receiver.threads = Arc::clone(threads) as _;
    config.receiver.device_state = Some(Arc::new(|_| Ok(())));
    config.receiver.limits.devices = MOMENT;
    config.machine = Some(machine);
    let destination = Destination::new(config, method);
    for bytes in sent.iter().map(Sent::bytes) {
        destination.accept(Box::new(Script::new(&bytes)))?;
    }
    let mut host = Taker::default();
    let taken = destination.run(&mut host);
    assert!(taken.is_ok() || has_packets, "{:?}", taken.err());
    assert!(taken.is_err() || host.tail == tail, "other devices");
    assert!(
        taken.is_err() || host.early.sections() == early,
        "other sections"
    );
    Ok(())
}
