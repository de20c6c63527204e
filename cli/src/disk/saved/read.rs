// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reading a saved migration.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Seek as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use multifd_core::memory::Mapping;
use multifd_core::wire::{BlockName, Uuid};
use multifd_core::{DeviceState, GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::{MAX_TAIL_LEN, Tail};
use multifd_migration::{EarlySections, SourceConfig};
use serde_json::Value;

use super::early_read::KeptEarly;
use super::folder::Folder;
use super::manifest::{Manifest, SyncName, is_file_name};
use super::names::{ALL, DEVICES, EARLY, MANIFEST, PACKETS, RAM};
use super::packets::read_packets;
use crate::disk::checksum::Checksum;
use crate::disk::{holes, sparse};

/// A folder that `recv --save` has written, checked.
pub(crate) struct Saved {
    pub(crate) manifest: Manifest,
    pub(crate) uuid: Uuid,
    page_size: PageSize,
    pub(crate) early: Option<KeptEarly>,
    pub(crate) tail: Tail,
    pub(crate) packets: Vec<DeviceState>,
    blocks: Vec<(BlockName, File, usize)>,
}

impl Saved {
    /// Opens a folder and checks all of it but the memory's content, which may be anything.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::try_open(path).with_context(|| format!("the saved migration {}", path.display()))
    }

    fn try_open(path: &Path) -> anyhow::Result<Self> {
        let folder = Folder::open(path)?;
        let manifest = folder.read(MANIFEST, MAX_MANIFEST)?;
        let manifest: Manifest = serde_json::from_slice(&manifest).context(MANIFEST)?;
        manifest.check().context(MANIFEST)?;
        let ram = folder.folder(RAM)?;
        let mut blocks = Vec::new();
        for entry in &manifest.blocks {
            let file = ram.file_of(&entry.file, entry.length).context(RAM)?;
            let name = BlockName::new(&entry.name).context("a block without a name")?;
            blocks.push((name, file, usize::try_from(entry.length)?));
        }
        let early = read_early(&folder, &manifest)?;
        let full = early.as_ref().map_or(0, KeptEarly::full);
        Ok(Self {
            uuid: manifest.uuid().context("no UUID")?,
            page_size: manifest.page_size().context("no page size")?,
            early,
            tail: read_tail(&folder, &manifest, full)?,
            packets: read_device_packets(&folder, &manifest)?,
            blocks,
            manifest,
        })
    }

    /// Reads all of the memory, and compares its checksums with those of when it was kept. Returns whether there
    /// are checksums of all blocks: the first programs made none.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what was kept.
    pub(crate) fn verify(&self) -> anyhow::Result<bool> {
        let mut all = true;
        for (entry, (_, file, _)) in self.manifest.blocks.iter().zip(&self.blocks) {
            let name = || format!("{RAM}/{}", entry.file);
            match entry.crc32 {
                Some(want) => {
                    let got = sparse::checksum(file, entry.length).with_context(name)?;
                    compare(got, want).with_context(name)?;
                }
                None => all = false,
            }
        }
        Ok(all)
    }

    /// Whether the machine type is one that tells the channels to meet at the end of each section: 8.0 or
    /// older. A QEMU of that age does not look for zero pages in packets.
    pub(crate) fn is_of_an_old_machine(&self) -> bool {
        self.manifest.sync_mode == SyncName::PerSection
    }

    /// Has a source send this guest: as this machine, with these devices.
    pub(crate) fn configure(self, config: &mut SourceConfig) {
        config.machine = self.manifest.machine;
        config.uuid = self.uuid;
        config.validate_uuid = self.manifest.validate_uuid;
        config.page_bits = self.manifest.target_page_bits;
        config.ram_section_id = self.manifest.ram_section_id;
        config.sync_mode = self.manifest.sync_mode.into();
        let early = self
            .early
            .map(|early| Arc::new(early) as Arc<dyn EarlySections>);
        config.early_sections = early;
        config.tail = Some(self.tail.bytes);
        config.device_packets = self.packets;
    }

    /// Maps the memory. What is written to it does not reach the files.
    pub(crate) fn memory(&self) -> anyhow::Result<GuestMemory> {
        let blocks = self.blocks.iter().map(|(name, file, len)| {
            let mut mapping = Mapping::private(file.as_fd(), *len)
                .with_context(|| format!("cannot map the block {name}"))?;
            holes::learn(&mut mapping, file);
            Ok(RamBlock::new(name.clone(), Arc::new(mapping))?)
        });
        let blocks: anyhow::Result<Vec<_>> = blocks.collect();
        Ok(GuestMemory::new(self.page_size, blocks?)?)
    }
}

/// Refuses a folder that is to be removed because a process has left it behind: if it holds something else,
/// or a whole guest, which somebody may have given such a name or which lacked nothing but its name.
pub(super) fn is_no_guest(path: &Path) -> anyhow::Result<()> {
    check_names(path)?;
    let manifest = Folder::open(path)?.read(MANIFEST, MAX_MANIFEST);
    let whole = manifest.is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok());
    ensure!(
        !whole,
        "it holds a whole guest: give it another name, or remove it"
    );
    Ok(())
}

/// Refuses a folder with something in it that is not of a saved guest.
pub(crate) fn check_names(path: &Path) -> anyhow::Result<()> {
    let not_ours = |name: &OsStr| format!("it exists, with {} in it: remove that", name.display());
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        ensure!(ALL.iter().any(|ours| name == *ours), "{}", not_ours(&name));
    }
    let ram = path.join(RAM);
    if !ram.symlink_metadata().is_ok_and(|entry| entry.is_dir()) {
        return Ok(());
    }
    for entry in fs::read_dir(ram)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_block = entry.file_type()?.is_file() && is_file_name(&name.to_string_lossy());
        ensure!(
            is_block,
            "{}",
            not_ours(&Path::new(RAM).join(&name).into_os_string())
        );
    }
    Ok(())
}

fn compare(got: u32, want: u32) -> anyhow::Result<()> {
    ensure!(
        got == want,
        "the CRC-32 is {got:08x}, wanted {want:08x}: this is not what was kept"
    );
    Ok(())
}

fn read_early(folder: &Folder, manifest: &Manifest) -> anyhow::Result<Option<KeptEarly>> {
    let Some(entry) = &manifest.early_sections else {
        return Ok(None);
    };
    let file = folder.file_of(EARLY, entry.bytes)?;
    if let Some(want) = entry.crc32 {
        let got = sparse::checksum(&file, entry.bytes).context(EARLY)?;
        compare(got, want).context(EARLY)?;
    }
    let early = KeptEarly::open(file, manifest.ram_section_id).context(EARLY)?;
    let (got, want) = (early.sections, entry.sections);
    ensure!(got == want, "{EARLY}: {got} sections, wanted {want}");
    Ok(Some(early))
}

fn read_tail(folder: &Folder, manifest: &Manifest, early_full: usize) -> anyhow::Result<Tail> {
    let bytes = folder.read(DEVICES, MAX_TAIL_LEN as u64)?;
    let (got, want) = (bytes.len() as u64, manifest.devices.bytes);
    ensure!(
        got == want,
        "{DEVICES}: the file has {got} bytes, wanted {want}"
    );
    if let Some(want) = manifest.devices.crc32 {
        compare(Checksum::of(&bytes), want).context(DEVICES)?;
    }
    let tail = Tail::parse_behind(bytes, early_full).context(DEVICES)?;
    let (got, want) = (
        tail.sections.as_ref().map(Vec::len),
        manifest.devices.sections,
    );
    ensure!(
        got == want,
        "{DEVICES}: {got:?} device sections, wanted {want:?}"
    );
    Ok(tail)
}

fn read_device_packets(folder: &Folder, manifest: &Manifest) -> anyhow::Result<Vec<DeviceState>> {
    let Some(entry) = &manifest.device_packets else {
        return Ok(Vec::new());
    };
    let mut file = folder.file_of(PACKETS, entry.bytes)?;
    if let Some(want) = entry.crc32 {
        let got = sparse::checksum(&file, entry.bytes).context(PACKETS)?;
        compare(got, want).context(PACKETS)?;
        file.rewind()?;
    }
    let packets = read_packets(file).context(PACKETS)?;
    let (got, want) = (packets.len() as u64, entry.packets);
    ensure!(got == want, "{PACKETS}: {got} packets, wanted {want}");
    Ok(packets)
}

/// Most bytes of a manifest: those of the largest number of blocks.
const MAX_MANIFEST: u64 = 16 << 20;
