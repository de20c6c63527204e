// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Several channels of a receiver, and the barriers between them.

use std::sync::Arc;

use anyhow::{Context, Result};
use multifd_core::memory::BlockIndex;
use multifd_core::{Receiver, ReceiverConfig};

use super::Target;
use super::channel::Joined;
use super::guest::{self, PAGE};
use super::limits::limits;
use super::machine::Machine;
use super::packets::{packets, pages_before};
use super::parts::{self, ON_MAIN, Parts, SETUP};
use super::script::Script;
use super::text::check_error;

/// All bytes of up to four channels; what is the main connection's is a list of what its thread does.
pub(super) const CHANNELS: Target = Target {
    name: "channels",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let received = receive(&Parts::of(bytes), &threads);
        threads.join();
        received.unwrap_or(false)
    },
    seeds,
};

/// Answers whether there was nothing wrong.
fn receive(parts: &Parts<'_>, threads: &Arc<Joined>) -> Result<bool> {
    let channels = parts.channels();
    let mut config = ReceiverConfig::default();
    config.channels = parts.setup.count();
    config.memory_is_zeroed = parts.setup.more[0] & 1 == 0;
    config.limits = limits(parts::is_complete(
        &super::channel::MAIN,
        &channels,
        config.uuid,
    ));
    config.threads = Arc::clone(threads) as _;
    config.device_state = Some(Arc::new(|state| {
        assert!(!state.data.is_empty());
        Ok(())
    }));
    let receiver = Receiver::new(config, parts.setup.open_method()?);
    let memory = guest::memory(&[("ram", 1024), ("rom", 1)])?;
    let (block, _) = memory.indexed().next().context("block")?;
    receiver.attach(memory)?;
    for bytes in &channels {
        // The failure of one before it is told below.
        let _ = receiver.accept(Box::new(Script::new(bytes)));
    }
    let mut steps = parts.bytes(ON_MAIN);
    steps.truncate(MOST_STEPS);
    let mut main = Main {
        receiver: &receiver,
        block,
        syncs: 0,
        zero_pages: 0,
    };
    let done = steps.iter().try_for_each(|step| main.step(*step));
    let Main {
        syncs, zero_pages, ..
    } = main;

    let finished = receiver.finish();
    // Now that no thread is in the middle of a packet.
    let total = receiver.stats().total();
    let sent: usize = channels.iter().map(Vec::len).sum();
    assert!(total.wire_bytes <= sent as u64);
    assert!(
        syncs * channels.len() as u64 <= total.packets,
        "{syncs} barriers"
    );
    assert!(receiver.received_pages() <= total.normal_pages + total.zero_pages + zero_pages);
    for error in [done.as_ref().err(), finished.as_ref().err()]
        .into_iter()
        .flatten()
    {
        check_error(error);
    }
    if done.is_ok() {
        let pages: usize = channels
            .iter()
            .map(|bytes| pages_before(bytes, syncs))
            .sum();
        assert!(
            pages as u64 <= total.normal_pages + total.zero_pages,
            "a barrier was too early"
        );
    }
    Ok(done.is_ok() && finished.is_ok())
}

/// The thread of the main connection.
struct Main<'r> {
    receiver: &'r Receiver,
    block: BlockIndex,
    syncs: u64,
    zero_pages: u64,
}

impl Main<'_> {
    fn step(&mut self, step: u8) -> Result<(), multifd_core::Error> {
        if step % 4 < 3 {
            let met = self.receiver.sync();
            let failed = self.receiver.abort_handle().error().is_some();
            assert!(met.is_ok() || failed, "a failure is forgotten");
            met?;
            self.syncs += 1;
            return Ok(());
        }
        let offset = u64::from(step / 4) * PAGE as u64;
        self.receiver.zero_page(self.block, offset)?;
        self.zero_pages += 1;
        Ok(())
    }
}

fn seeds() -> Result<Vec<Vec<u8>>> {
    let machines = Machine::all()?;
    let seeds = machines.iter().map(|machine| {
        let first = machine.channels.first().context("channel")?;
        let syncs = packets(first).filter(|(packet, _)| packet.is_sync).count();
        let setup = machine.setup([0; 2]).bytes();
        let steps = vec![0; syncs];
        let parts = [(SETUP, &setup[..]), (ON_MAIN, &steps)].into_iter();
        Ok(parts::join(parts.chain(machine.of_channels())))
    });
    seeds.collect()
}

/// What the thread of the main connection does at most.
const MOST_STEPS: usize = 1000;
