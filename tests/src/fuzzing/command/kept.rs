// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that are kept while they arrive, and read again.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use multifd_cli::readers::{self, Keeping};
use multifd_core::GuestMemory;
use multifd_migration::stream::{
    AnnouncedBlock, Configuration, EarlyPart, EarlySection, SyncMode, Tail,
};
use multifd_migration::{Destination, DestinationConfig, DestinationHost, GuestHere, HostError};

use super::give_back::give_back;
use super::inspect::inspect;
use crate::fuzzing::Target;
use crate::fuzzing::channel::Joined;
use crate::fuzzing::early::Taken;
use crate::fuzzing::guest::MOST_BYTES;
use crate::fuzzing::limits::limits;
use crate::fuzzing::machine::Machine;
use crate::fuzzing::parts::{self, ON_MAIN, Parts};
use crate::fuzzing::script::{Order, Script};
use crate::fuzzing::text::check_error;

/// The main connection and up to four channels, of a guest that is kept in a folder.
pub(in crate::fuzzing) const KEPT: Target = Target {
    name: "kept",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let kept = keep(&Parts::of(bytes), &threads);
        threads.join();
        kept.unwrap_or(false)
    },
    seeds: || {
        // Small ones: all of their memory is looked at.
        let machines = Machine::own()?;
        machines
            .iter()
            .map(|machine| machine.input([0; 2]))
            .collect()
    },
};

/// Answers whether the guest is kept.
fn keep(parts: &Parts<'_>, threads: &Arc<Joined>) -> Result<bool> {
    let (main, channels) = (parts.bytes(ON_MAIN), parts.channels());
    let outer = folder()?;
    let folder = outer.path().join("guest");
    let mut config = DestinationConfig::default();
    let keeping = Keeping::plan(&folder).map_err(anyhow::Error::msg)?;
    let receiver = &mut config.receiver;
    receiver.channels = parts.setup.count();
    receiver.memory_is_zeroed = true;
    receiver.limits = limits(parts::is_complete(&main, &channels, receiver.uuid));
    receiver.threads = Arc::clone(threads) as _;
    receiver.device_state = Some(keeping.sink());
    config.wait = Some(receiver.limits.main);
    let destination = Destination::new(config, parts.setup.open_method()?);
    // What comes at once behind the devices would be a part of them.
    let main = Script::ordered(&parts.script(ON_MAIN), Order::default());
    destination.accept(Box::new(main))?;
    for bytes in &channels {
        // The failure of one before it is told below.
        let _ = destination.accept(Box::new(Script::new(bytes)));
    }
    let mut host = Host {
        keeping,
        destination: &destination,
        memory: None,
        early: Taken::default(),
        seen: None,
        is_complete: false,
    };
    let result = destination.run(&mut host);
    let (seen, is_complete) = (host.seen.take(), host.is_complete);
    drop(host);
    assert!(is_complete == folder.exists(), "what was left behind");
    let is_whole = match &result {
        Ok(_) => true,
        Err(failure) => {
            check_error(failure);
            failure.guest == GuestHere::WholeButNotReleased
        }
    };
    assert!(is_complete || !is_whole);
    if is_complete {
        check(&folder, seen, threads)?;
    }
    drop(destination);
    Ok(result.is_ok())
}

/// What was kept is what came, and can be sent again.
fn check(folder: &Path, seen: Option<Seen>, threads: &Arc<Joined>) -> Result<()> {
    assert!(inspect(folder, true) == Some(true), "not in order");
    let loaded = readers::load(folder);
    assert!(loaded.is_ok(), "{:?}", loaded.err());
    let (config, memory) = loaded.map_err(anyhow::Error::msg)?;
    let now = Seen {
        machine: config.machine.clone(),
        early: Taken::of(config.early_sections.as_deref()),
        tail: config.tail.clone().unwrap_or_default(),
        pages: pages(&memory),
    };
    assert!(seen == Some(now), "another guest");
    give_back(config, memory, threads)
}

/// A guest, as the destination has it in the end.
#[derive(PartialEq)]
struct Seen {
    machine: String,
    early: Vec<EarlySection>,
    tail: Vec<u8>,
    /// Of each block.
    pages: Vec<Vec<u8>>,
}

fn pages(memory: &GuestMemory) -> Vec<Vec<u8>> {
    let blocks = memory.blocks().iter().map(|block| {
        let len = usize::try_from(block.len()).unwrap_or_default();
        let mut bytes = vec![0; len];
        if let Some(span) = block.span(0, len) {
            span.copy_to(&mut bytes);
        }
        bytes
    });
    blocks.collect()
}

/// As the command is one.
struct Host<'d> {
    keeping: Keeping,
    destination: &'d Destination,
    memory: Option<GuestMemory>,
    early: Taken,
    seen: Option<Seen>,
    is_complete: bool,
}

impl DestinationHost for Host<'_> {
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        let lengths = blocks.iter().map(|block| block.used_length);
        if lengths.fold(0, u64::saturating_add) > MOST_BYTES {
            return Err("a guest that is too large".into());
        }
        let memory = self.keeping.memory(configuration, blocks)?;
        self.seen = Some(Seen {
            machine: configuration.machine.clone(),
            early: Vec::new(),
            tail: Vec::new(),
            pages: Vec::new(),
        });
        self.memory = Some(memory.clone());
        Ok(memory)
    }

    fn ram_section_id(&mut self, id: u32) {
        self.keeping.set_ram_section_id(id);
    }

    fn early_section(&mut self, part: EarlyPart<'_>) -> Result<(), HostError> {
        self.early.take(part);
        self.keeping.early_section(part)
    }

    fn sync_mode(&mut self, mode: SyncMode) {
        self.keeping.set_sync_mode(mode);
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        if let (Some(seen), Some(memory)) = (&mut self.seen, &self.memory) {
            seen.early = self.early.sections().to_vec();
            seen.tail.clone_from(&devices.bytes);
            seen.pages = pages(memory);
        }
        let pages = self.destination.received_pages();
        let uuid = self.destination.uuid().unwrap_or_default();
        self.keeping.complete(devices, uuid, pages)?;
        self.is_complete = true;
        Ok(())
    }
}

/// Where nothing has to reach a disk, if there is such a place.
fn folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())?)
}
