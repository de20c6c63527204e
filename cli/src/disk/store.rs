// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a destination puts what it receives.

use std::ops::Range;
use std::path::Path;

use migration_params::Settings;
use multifd_core::wire::Uuid;
use multifd_core::{DeviceStateSink, GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::{AnnouncedBlock, Configuration, EarlyPart, SyncMode, Tail};

use crate::args::RecvArgs;
use crate::disk::fault;
use crate::disk::files::Files;
use crate::disk::saved::{How, Saving};
use crate::disk::unreleased;
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::failure::{self, Failure};
use crate::show::output;
use crate::show::whereabouts::Whereabouts;

/// Files that the user has named, or a folder that can be sent again.
pub(crate) enum Store {
    Files {
        files: Files,
        devices: Option<String>,
    },
    Folder(Saving),
}

impl Store {
    /// Makes and locks what it will be put into, so that nothing but its room is left to be found out when the
    /// source says what it sends.
    pub(crate) fn plan(args: &RecvArgs, settings: &Settings) -> anyhow::Result<Self> {
        if let Some(folder) = &args.save {
            let how = How {
                address: args.listen.as_ref().map(Uri::to_string).unwrap_or_default(),
                method: settings.parameters.multifd_compression.name().to_owned(),
                channels: settings.parameters.multifd_channels.value(),
            };
            return Saving::plan(folder, how).map(Self::Folder);
        }
        let devices = args.devices.as_ref();
        Ok(Self::Files {
            files: Files::plan(&args.ram, devices.map(AsRef::as_ref), args.in_place)?,
            devices: devices.map(|path| path.display().to_string()),
        })
    }

    /// Says what address the source connects to, now that it is known whole.
    pub(crate) fn set_address(&mut self, address: &str) {
        if let Self::Folder(folder) = self {
            folder.set_address(address);
        }
    }

    /// Whether the memory that [`Self::memory`] makes holds only zeros.
    pub(crate) fn is_fresh(&self) -> bool {
        match self {
            Self::Files { files, .. } => files.are_fresh(),
            Self::Folder(_) => true,
        }
    }

    /// Takes device state from the channels, if it can be kept.
    pub(crate) fn sink(&self) -> Option<DeviceStateSink> {
        match self {
            Self::Files { .. } => None,
            Self::Folder(folder) => Some(folder.sink()),
        }
    }

    pub(crate) fn memory(
        &mut self,
        configuration: &Configuration,
        page_size: PageSize,
        blocks: &[AnnouncedBlock],
    ) -> anyhow::Result<GuestMemory> {
        match self {
            Self::Files { files, .. } => files.memory(page_size, blocks),
            Self::Folder(folder) => folder.memory(configuration, page_size, blocks),
        }
    }

    /// Makes a part of a block zero that has not come.
    pub(crate) fn clear(&self, block: &RamBlock, range: Range<u64>) -> anyhow::Result<()> {
        match self {
            Self::Files { files, .. } => files.clear(block, range),
            // It is new, and has nothing else.
            Self::Folder(_) => Ok(()),
        }
    }

    pub(crate) fn set_ram_section_id(&mut self, id: u32) {
        if let Self::Folder(folder) = self {
            folder.set_ram_section_id(id);
        }
    }

    /// Takes what devices send before the end of the memory, if it can be kept.
    pub(crate) fn early_section(&mut self, part: EarlyPart<'_>) -> anyhow::Result<()> {
        match self {
            Self::Files { .. } => Ok(()),
            Self::Folder(folder) => folder.early_section(part),
        }
    }

    pub(crate) fn set_sync_mode(&mut self, mode: SyncMode) {
        if let Self::Folder(folder) = self {
            folder.set_sync_mode(mode);
        }
    }

    /// All has come: gives it its names.
    pub(crate) fn complete(
        &mut self,
        tail: &Tail,
        uuid: Uuid,
        received_pages: u64,
    ) -> anyhow::Result<()> {
        log::info!("all of the guest is here: writing what is not on the disk yet");
        match self {
            Self::Files { files, .. } => files.complete(&tail.bytes),
            Self::Folder(folder) => folder.complete(tail, uuid, received_pages),
        }
    }

    /// The file of the device state, if it is kept.
    pub(crate) fn devices_file(&self) -> Option<String> {
        match self {
            Self::Files { devices, .. } => devices.clone(),
            Self::Folder(folder) => Some(folder.devices_file().display().to_string()),
        }
    }

    /// The file of what devices sent before the end of the memory, if it is kept.
    pub(crate) fn early_file(&self) -> Option<String> {
        match self {
            Self::Files { .. } => None,
            Self::Folder(folder) => Some(folder.early_file().display().to_string()),
        }
    }

    /// Names the file in an error of one that has no room for a page.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        fault::in_file(error, |block| match self {
            Self::Files { files, .. } => files.path_of(block),
            Self::Folder(folder) => folder.path_of(block),
        })
    }

    /// Says with an error that all of the guest is here, whatever has failed behind that: this may be the only copy.
    pub(crate) fn kept(&self, error: anyhow::Error) -> anyhow::Error {
        if !self.is_complete() || failure::guest(&error) == Some(Whereabouts::Kept) {
            return error;
        }
        let mut kept = Failure::new(ExitCode::Kept, "all of the guest is here");
        kept.guest = Some(Whereabouts::Kept);
        error.context(kept)
    }

    /// The migration has succeeded, and the guest is this side's.
    pub(crate) fn keep(self) {
        let marked = match &self {
            Self::Files { files, .. } => files.marked().iter().map(AsRef::as_ref).collect(),
            Self::Folder(folder) => vec![folder.target()],
        };
        for path in marked {
            if let Err(error) = unreleased::unmark(path) {
                output::message(format_args!(
                    "multifd: the source has released the guest, but its mark stays: {error:#}: multifd release {}",
                    path.display()
                ));
            }
        }
    }

    /// The migration has failed. Unless all of the guest is here, whatever was made for it is removed. If all of it is
    /// here it stays, marked as unreleased, and this says where.
    pub(crate) fn fail(self) {
        if !self.is_complete() {
            return;
        }
        for path in self.targets() {
            output::one_line(format_args!(
                "multifd: kept, unreleased: {}",
                path.display()
            ));
        }
    }

    /// The files or the folder that the guest is in, under their last names.
    fn targets(&self) -> Vec<&Path> {
        match self {
            Self::Files { files, .. } => files.targets().iter().map(AsRef::as_ref).collect(),
            Self::Folder(folder) => vec![folder.target()],
        }
    }

    /// Whether all of the guest is on the disk, under the names that the user has given.
    fn is_complete(&self) -> bool {
        match self {
            Self::Files { files, .. } => files.is_complete(),
            Self::Folder(folder) => folder.is_complete(),
        }
    }
}
