// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What reads texts and files that others have written, and keeps what they send: for the fuzz targets. Nothing else
//! takes it.

use std::path::Path;

use multifd_core::wire::Uuid;
use multifd_core::{DeviceStateSink, GuestMemory};
use multifd_migration::stream::{AnnouncedBlock, Configuration, EarlyPart, SyncMode, Tail};
use multifd_migration::{HostError, SourceConfig};

use crate::disk::saved::{How, Saved, Saving};
use crate::inspect;
use crate::net::uri::{Uri, UriError};
use crate::show::output;

/// What `multifd inspect` prints.
#[derive(Debug)]
pub struct Inspected {
    /// For a human.
    pub text: String,
    /// With `--json`.
    pub json: String,
    /// Whether nothing was found that must not be.
    pub is_in_order: bool,
}

/// Does what `multifd inspect` does, with `--verify` or without.
///
/// # Errors
/// What it prints of one.
pub fn inspected(path: &Path, verify: bool) -> Result<Inspected, String> {
    let (text, json, is_in_order) = inspect::look(path, verify).map_err(|error| printed(&error))?;
    Ok(Inspected {
        text: output::safe(&text),
        json,
        is_in_order,
    })
}

/// A folder that is written as `multifd recv --save` does.
pub struct Keeping(Saving);

impl Keeping {
    /// A folder of this name.
    ///
    /// # Errors
    /// What is printed of one.
    pub fn plan(folder: &Path) -> Result<Self, String> {
        let how = How {
            address: "unix:/run/in".into(),
            method: "none".into(),
            channels: 1,
        };
        let saving = Saving::plan(folder, how).map_err(|error| printed(&error))?;
        Ok(Self(saving))
    }

    /// Takes device state from the channels.
    pub fn sink(&self) -> DeviceStateSink {
        self.0.sink()
    }

    /// As [`DestinationHost::memory`](multifd_migration::DestinationHost::memory).
    ///
    /// # Errors
    /// As there.
    pub fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        let page_size = configuration.page_size(None)?;
        let memory = self.0.memory(configuration, page_size, blocks);
        memory.map_err(|error| printed(&error).into())
    }

    /// As [`DestinationHost::ram_section_id`](multifd_migration::DestinationHost::ram_section_id).
    pub fn set_ram_section_id(&mut self, id: u32) {
        self.0.set_ram_section_id(id);
    }

    /// As [`DestinationHost::early_section`](multifd_migration::DestinationHost::early_section).
    ///
    /// # Errors
    /// As there.
    pub fn early_section(&mut self, part: EarlyPart<'_>) -> Result<(), HostError> {
        let taken = self.0.early_section(part);
        taken.map_err(|error| printed(&error).into())
    }

    /// As [`DestinationHost::sync_mode`](multifd_migration::DestinationHost::sync_mode).
    pub fn set_sync_mode(&mut self, mode: SyncMode) {
        self.0.set_sync_mode(mode);
    }

    /// As [`DestinationHost::complete`](multifd_migration::DestinationHost::complete), of a guest of this UUID, of which so many
    /// pages came.
    ///
    /// # Errors
    /// As there.
    pub fn complete(
        &mut self,
        devices: &Tail,
        uuid: Uuid,
        received_pages: u64,
    ) -> Result<(), HostError> {
        let complete = self.0.complete(devices, uuid, received_pages);
        complete.map_err(|error| printed(&error).into())
    }
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeping({})", self.0.target().display())
    }
}

/// Reads a folder as `multifd send --load` does; answers how a source would send it, and the memory.
///
/// # Errors
/// What it prints of one.
pub fn load(path: &Path) -> Result<(SourceConfig, GuestMemory), String> {
    let saved = Saved::open(path).map_err(|error| printed(&error))?;
    let memory = saved.memory().map_err(|error| printed(&error))?;
    let mut config = SourceConfig::default();
    saved.configure(&mut config);
    Ok((config, memory))
}

/// Reads an address; answers how it is printed.
///
/// # Errors
/// What is printed of one.
pub fn address(text: &str) -> Result<String, String> {
    let uri: Uri = text
        .parse()
        .map_err(|error: UriError| printed(&error.into()))?;
    Ok(uri.to_string())
}

fn printed(error: &anyhow::Error) -> String {
    output::safe(&format!("{error:#}"))
}
