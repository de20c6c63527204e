// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Keeping a migration while it arrives.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use multifd_core::memory::Mapping;
use multifd_core::wire::Uuid;
use multifd_core::{DeviceStateSink, GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::{
    AnnouncedBlock, Configuration, EarlyPart, RAM_SECTION_ID, SyncMode, Tail,
};

use super::date;
use super::early_write::EarlyFile;
use super::manifest::{BlockEntry, DevicesEntry, EarlyEntry, FORMAT, Manifest, Origin, file_name};
use super::names::{DEVICES, EARLY, MANIFEST, PACKETS, RAM};
use super::packets::PacketFile;
use super::read::is_no_guest;
use crate::disk::checksum::Checksum;
use crate::disk::create;
use crate::disk::pending::Pending;
use crate::disk::writeback::Writeback;
use crate::disk::{sparse, sync, unreleased};
use crate::show::failure::Failure;

/// A folder that is being written. Unless it is complete, it is removed on drop.
pub(crate) struct Saving {
    /// Writes to the disk while memory arrives. The first to go.
    writeback: Option<Writeback>,
    folder: Pending,
    how: How,
    machine: String,
    validate_uuid: bool,
    page_bits: Option<u32>,
    page_size: PageSize,
    ram_section_id: u32,
    sync_mode: Option<SyncMode>,
    blocks: Vec<(File, RamBlock)>,
    early: Option<EarlyFile>,
    packets: PacketFile,
    complete: bool,
}

/// What is known about a migration before it begins.
pub(crate) struct How {
    pub(crate) address: String,
    pub(crate) method: String,
    pub(crate) channels: u8,
}

impl Saving {
    /// Makes the folder, and locks it. Nothing is left to be found out but whether there is room.
    pub(crate) fn plan(target: &Path, how: How) -> anyhow::Result<Self> {
        // Without a slash at its end, where a link would be followed.
        let target: PathBuf = target.components().collect();
        if target.symlink_metadata().is_ok() {
            let what = format!("destination: {} already exists", target.display());
            let failure = Failure::usage(what).hint("remove it or choose another folder");
            return Err(failure.into());
        }
        if target.file_name().is_none() {
            let what = format!("destination: {} does not name a folder", target.display());
            return Err(Failure::usage(what).into());
        }
        Ok(Self {
            writeback: None,
            folder: Pending::folder(&target, is_no_guest)?,
            how,
            machine: String::new(),
            validate_uuid: false,
            page_bits: None,
            page_size: PageSize::default(),
            ram_section_id: RAM_SECTION_ID,
            sync_mode: None,
            blocks: Vec::new(),
            early: None,
            packets: PacketFile::default(),
            complete: false,
        })
    }

    pub(crate) fn set_address(&mut self, address: &str) {
        address.clone_into(&mut self.how.address);
    }

    /// The file of the device state, once there is one.
    pub(crate) fn devices_file(&self) -> PathBuf {
        self.folder.target().join(DEVICES)
    }

    /// The file of what devices sent before the end of the memory, once there is one.
    pub(crate) fn early_file(&self) -> PathBuf {
        self.folder.target().join(EARLY)
    }

    /// The file of a block.
    pub(crate) fn path_of(&self, block: &str) -> Option<PathBuf> {
        let mut blocks = self.blocks.iter().enumerate();
        let (index, (_, found)) = blocks.find(|(_, (_, known))| known.name().as_str() == block)?;
        let ram = self.folder.path().join(RAM);
        Some(ram.join(file_name(index, found.name())))
    }

    /// Takes device state from the channels.
    pub(crate) fn sink(&self) -> DeviceStateSink {
        self.packets.sink()
    }

    /// Makes a file for each block, with room for all of it, and maps them.
    pub(crate) fn memory(
        &mut self,
        configuration: &Configuration,
        page_size: PageSize,
        announced: &[AnnouncedBlock],
    ) -> anyhow::Result<GuestMemory> {
        self.machine.clone_from(&configuration.machine);
        self.validate_uuid = configuration.uuid.is_some();
        self.page_bits = configuration.page_bits;
        self.page_size = page_size;
        let lengths = announced.iter().map(|block| block.used_length);
        sparse::check_space(self.folder.handle(), lengths.fold(0, u64::saturating_add))?;
        let ram = self.folder.path().join(RAM);
        create::new_folder(&ram).with_context(|| ram.display().to_string())?;
        for (index, block) in announced.iter().enumerate() {
            let path = ram.join(file_name(index, &block.name));
            let saved = new_block(&path, block)
                .with_context(|| format!("block {:?}, {}", block.name, path.display()))?;
            self.blocks.push(saved);
        }
        let packets = self.folder.path().join(PACKETS);
        self.packets
            .open(create::new_file(&packets).context(PACKETS)?);
        self.early()?;
        let early = self.early.iter().map(EarlyFile::file);
        let blocks = self.blocks.iter().map(|(file, _)| file);
        self.writeback = Writeback::start(blocks.chain(early))?;
        let blocks = self.blocks.iter().map(|(_, block)| block.clone());
        Ok(GuestMemory::new(page_size, blocks.collect())?)
    }

    pub(crate) fn set_ram_section_id(&mut self, id: u32) {
        self.ram_section_id = id;
    }

    /// Takes what devices send before the end of the memory.
    pub(crate) fn early_section(&mut self, part: EarlyPart<'_>) -> anyhow::Result<()> {
        self.early()?.take(part).context(EARLY)
    }

    /// The file for that, which may be needed before there is any memory.
    fn early(&mut self) -> anyhow::Result<&mut EarlyFile> {
        let early = match self.early.take() {
            Some(early) => early,
            None => {
                let path = self.folder.path().join(EARLY);
                EarlyFile::new(create::new_file(&path).context(EARLY)?)
            }
        };
        Ok(self.early.insert(early))
    }

    pub(crate) fn set_sync_mode(&mut self, mode: SyncMode) {
        self.sync_mode = Some(mode);
    }

    /// Makes sure that all of it is on the disk, and gives the folder its name. From then on it stays,
    /// whatever happens: the source may be gone by now, and this the only copy.
    pub(crate) fn complete(
        &mut self,
        tail: &Tail,
        uuid: Uuid,
        received_pages: u64,
    ) -> anyhow::Result<()> {
        ensure!(
            !self.blocks.is_empty(),
            "the source has announced no memory"
        );
        let early_sections = self.finish_early()?;
        let path = self.folder.path();
        let blocks = self.release_zeros()?;
        write_synced(&path.join(DEVICES), &tail.bytes).context(DEVICES)?;
        let packets = self.packets.finish().context(PACKETS)?;
        if packets.packets == 0 {
            fs::remove_file(path.join(PACKETS)).context(PACKETS)?;
        }
        let mut manifest = Manifest {
            format: FORMAT.into(),
            version: 0,
            machine: self.machine.clone(),
            page_size: self.page_size.bytes_u64(),
            uuid: uuid.to_string(),
            validate_uuid: self.validate_uuid,
            target_page_bits: self.page_bits,
            ram_section_id: self.ram_section_id,
            sync_mode: self.sync_mode.context("no section of memory came")?.into(),
            blocks,
            received_pages,
            early_sections,
            devices: DevicesEntry {
                bytes: tail.bytes.len() as u64,
                sections: tail.sections.as_ref().map(Vec::len),
                crc32: Some(Checksum::of(&tail.bytes)),
            },
            device_packets: Some(packets).filter(|packets| packets.packets > 0),
            received: self.origin(),
        };
        manifest.set_version();
        let manifest = serde_json::to_vec_pretty(&manifest)?;
        write_synced(&path.join(MANIFEST), &manifest).context(MANIFEST)?;
        sync::folder(&File::open(path.join(RAM))?).context(RAM)?;
        // Until the source has released the guest.
        unreleased::mark(path)?;
        Pending::commit(slice::from_mut(&mut self.folder))?;
        self.complete = true;
        Ok(())
    }

    /// What devices sent before the end of the memory, on the disk; its file is gone if that is nothing.
    fn finish_early(&mut self) -> anyhow::Result<Option<EarlyEntry>> {
        let entry = self.early()?.finish().context(EARLY)?;
        if entry.is_none() {
            fs::remove_file(self.folder.path().join(EARLY)).context(EARLY)?;
        }
        Ok(entry)
    }

    /// The folder's last name.
    pub(crate) fn target(&self) -> &Path {
        self.folder.target()
    }

    /// Whether the folder has its name.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Gives back what zero pages take, and has the rest written to the disk.
    fn release_zeros(&self) -> anyhow::Result<Vec<BlockEntry>> {
        let blocks = self
            .blocks
            .iter()
            .enumerate()
            .map(|(index, (file, block))| {
                let name = block.name();
                let kept = sparse::release_zeros(file, block)
                    .and_then(|kept| file.sync_all().map(|()| kept).map_err(Into::into))
                    .with_context(|| format!("block {name}"))?;
                Ok(BlockEntry {
                    name: name.as_str().to_owned(),
                    length: block.len(),
                    file: file_name(index, name),
                    data_bytes: kept.data_bytes,
                    crc32: Some(kept.crc32),
                })
            });
        blocks.collect()
    }

    fn origin(&self) -> Origin {
        Origin {
            date: date::now(),
            socket_address: self.how.address.clone(),
            multifd_compression: self.how.method.clone(),
            multifd_channels: self.how.channels,
            program: concat!("multifd ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

fn new_block(path: &Path, block: &AnnouncedBlock) -> anyhow::Result<(File, RamBlock)> {
    let file = create::new_file(path)?;
    sparse::reserve(&file, block.used_length)?;
    let mapping = Mapping::shared(file.as_fd(), usize::try_from(block.used_length)?)?;
    let block = RamBlock::new(block.name.clone(), Arc::new(mapping))?;
    sparse::fill(&block);
    Ok((file, block))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create::new_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
