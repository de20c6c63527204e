// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest memory in files.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{AbortHandle, GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
use multifd_migration::{DestinationHost, HostError, RunState};

/// Maps files as the blocks of a guest, shared and whole.
///
/// # Errors
/// A file that cannot be opened or mapped, or a name that cannot be a block's.
pub fn file_memory(blocks: &[(&str, &Path)]) -> Result<GuestMemory> {
    let blocks = blocks.iter().map(|(name, path)| file_block(name, path));
    Ok(GuestMemory::new(
        PageSize::X86,
        blocks.collect::<Result<_>>()?,
    )?)
}

fn file_block(name: &str, path: &Path) -> Result<RamBlock> {
    let context = || format!("mapping {}", path.display());
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(context)?;
    let len = usize::try_from(file.metadata()?.len())?;
    let mapping = Mapping::shared(file.as_fd(), len).with_context(context)?;
    let name = BlockName::new(name).with_context(|| format!("{name:?} is no block's name"))?;
    Ok(RamBlock::new(name, Arc::new(mapping))?)
}

/// A destination's host whose memory is there before the migration. It keeps what else it is told.
pub struct FileHost {
    memory: GuestMemory,
    /// What the source calls its machine.
    pub machine: Option<String>,
    /// The state of the devices, once it is there.
    pub devices: Option<Tail>,
    /// Aborted when the devices are there.
    pub on_complete: Option<AbortHandle>,
    /// What starts the guest.
    pub on_start: Option<Start>,
}

/// Starts a guest that has come, or fails to.
pub type Start = Box<dyn FnMut(RunState) -> Result<(), HostError> + Send>;

impl FileHost {
    /// A host with this memory.
    pub fn new(memory: GuestMemory) -> Self {
        Self {
            memory,
            machine: None,
            devices: None,
            on_complete: None,
            on_start: None,
        }
    }
}

impl DestinationHost for FileHost {
    fn memory(
        &mut self,
        configuration: &Configuration,
        _blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        self.machine = Some(configuration.machine.clone());
        Ok(self.memory.clone())
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        self.devices = Some(devices.clone());
        if let Some(abort) = &self.on_complete {
            abort.abort();
        }
        Ok(())
    }

    fn start(&mut self, run_state: RunState) -> Result<(), HostError> {
        match &mut self.on_start {
            Some(start) => start(run_state),
            None => Ok(()),
        }
    }
}
