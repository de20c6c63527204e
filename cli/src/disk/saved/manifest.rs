// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a saved migration says about itself.

use std::fmt;
use std::ops::RangeInclusive;

use anyhow::{bail, ensure};
use multifd_core::PageSize;
use multifd_core::wire::{BlockName, Uuid};
use multifd_migration::stream::{MAX_BLOCKS, RAM_SECTION_ID, SyncMode};
use serde::{Deserialize, Serialize};

/// The content of `manifest.json`. Nothing of it is believed before [`Self::check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Manifest {
    /// [`FORMAT`].
    pub(crate) format: String,
    /// What a program has to know to send the guest as it came: one of [`VERSIONS`].
    pub(crate) version: u32,
    /// The machine type, as the source named it.
    pub(crate) machine: String,
    /// Bytes of the guest's pages.
    pub(crate) page_size: u64,
    /// The UUID that the channels named; all zero if the guest has none.
    pub(crate) uuid: String,
    /// Whether the source named it in its configuration, too: the capability `validate-uuid`.
    pub(crate) validate_uuid: bool,
    /// The binary logarithm of the page size, if the source named it in its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target_page_bits: Option<u32>,
    /// The id that the source gave to RAM's sections.
    #[serde(
        default = "default_section_id",
        skip_serializing_if = "is_default_section_id"
    )]
    pub(crate) ram_section_id: u32,
    /// `per-round` or `per-section`.
    pub(crate) sync_mode: SyncName,
    /// The RAM blocks, in the source's order.
    pub(crate) blocks: Vec<BlockEntry>,
    /// Pages of all blocks that came. A source may leave out what its guest does not use: such pages
    /// are zero here.
    pub(crate) received_pages: u64,
    /// What devices sent before the end of the memory; missing if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) early_sections: Option<EarlyEntry>,
    /// What came behind the memory.
    pub(crate) devices: DevicesEntry,
    /// What came over the channels; missing if there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device_packets: Option<PacketsEntry>,
    /// How it came here. Nothing depends on it.
    pub(crate) received: Origin,
}

/// A RAM block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct BlockEntry {
    /// Its name on the wire.
    pub(crate) name: String,
    /// Its bytes, holes included.
    pub(crate) length: u64,
    /// The file's name in the folder `ram`.
    pub(crate) file: String,
    /// Bytes of its pages that are not zero.
    pub(crate) data_bytes: u64,
    /// The CRC-32 of the file, holes included; missing in folders of programs that made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EarlyEntry {
    /// Bytes of `early-sections.bin`.
    pub(crate) bytes: u64,
    /// How many sections are in it.
    pub(crate) sections: u64,
    /// The CRC-32 of `early-sections.bin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DevicesEntry {
    /// Bytes of `devices.bin`.
    pub(crate) bytes: u64,
    /// How many device sections are in it, if the VM description leads through them.
    pub(crate) sections: Option<usize>,
    /// The CRC-32 of `devices.bin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PacketsEntry {
    /// Bytes of `device-packets.bin`.
    pub(crate) bytes: u64,
    /// How many packets are in it.
    pub(crate) packets: u64,
    /// The CRC-32 of `device-packets.bin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<u32>,
}

/// How a migration came here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Origin {
    /// When all had arrived, in UTC.
    pub(crate) date: String,
    /// The address that the source connected to.
    pub(crate) socket_address: String,
    pub(crate) multifd_compression: String,
    pub(crate) multifd_channels: u8,
    /// The program that wrote the folder, with its version.
    pub(crate) program: String,
}

/// How the source marked the points where the channels meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SyncName {
    PerRound,
    PerSection,
}

/// The value of `format`.
pub(super) const FORMAT: &str = "multifd-saved-migration";
/// The versions that this program reads. Each guest is written as the oldest one that knows all that it has, for older
/// programs.
pub(super) const VERSIONS: RangeInclusive<u32> = PLAIN..=WITH_EARLY_SECTIONS;
/// A guest with nothing of the others.
const PLAIN: u32 = 1;
/// One with [`Manifest::target_page_bits`], other pages than x86, or a [`Manifest::ram_section_id`] of its own.
const WITH_PAGES_AND_IDS: u32 = 2;
/// One with [`Manifest::early_sections`].
const WITH_EARLY_SECTIONS: u32 = 3;

impl Manifest {
    /// Checks all that can be checked without the other files.
    ///
    /// # Errors
    /// What is wrong, with what was wanted.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.format == FORMAT,
            "the format is {:?}, wanted {FORMAT:?}",
            self.format
        );
        ensure!(
            VERSIONS.contains(&self.version),
            "the version is {}, this program reads versions {} to {}",
            self.version,
            VERSIONS.start(),
            VERSIONS.end()
        );
        let Some(page_size) = self.page_size() else {
            bail!("pages have {} bytes, wanted 4 to 64 KiB", self.page_size);
        };
        if let Some(bits) = self.target_page_bits {
            let wanted = page_size.bytes().trailing_zeros();
            ensure!(
                bits == wanted,
                "pages have {page_size} bytes, but 2^{bits} as the source named it"
            );
        }
        ensure!(self.uuid().is_some(), "{:?} is not a valid UUID", self.uuid);
        ensure!(
            !self.blocks.is_empty() && self.blocks.len() <= MAX_BLOCKS,
            "{} RAM blocks, wanted 1 to {MAX_BLOCKS}",
            self.blocks.len()
        );
        for (index, block) in self.blocks.iter().enumerate() {
            block.check(index, page_size)?;
        }
        Ok(())
    }

    /// Makes the version the oldest one in which nothing of the guest is lost.
    pub(super) fn set_version(&mut self) {
        let is_plain = self.target_page_bits.is_none()
            && self.page_size() == Some(PageSize::X86)
            && is_default_section_id(&self.ram_section_id);
        self.version = match (&self.early_sections, is_plain) {
            (Some(_), _) => WITH_EARLY_SECTIONS,
            (None, false) => WITH_PAGES_AND_IDS,
            (None, true) => PLAIN,
        };
    }

    pub(crate) fn page_size(&self) -> Option<PageSize> {
        PageSize::new(u32::try_from(self.page_size).ok()?)
    }

    pub(crate) fn uuid(&self) -> Option<Uuid> {
        Uuid::parse(&self.uuid)
    }
}

impl BlockEntry {
    fn check(&self, index: usize, page_size: PageSize) -> anyhow::Result<()> {
        let Some(name) = BlockName::new(&self.name) else {
            bail!("{:?} is not a valid RAM block name", self.name);
        };
        // Never a path of somebody else's choice: the name is made from index and block alone.
        let file = file_name(index, &name);
        ensure!(
            self.file == file,
            "block {name}: the file is {:?}, wanted {file:?}",
            self.file
        );
        ensure!(
            self.length > 0 && page_size.is_aligned(self.length),
            "block {name}: the length is {}, wanted whole pages",
            self.length
        );
        Ok(())
    }
}

impl fmt::Display for SyncName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerRound => "per-round",
            Self::PerSection => "per-section",
        })
    }
}

impl From<SyncMode> for SyncName {
    fn from(mode: SyncMode) -> Self {
        match mode {
            SyncMode::PerRound => Self::PerRound,
            SyncMode::PerSection => Self::PerSection,
        }
    }
}

impl From<SyncName> for SyncMode {
    fn from(name: SyncName) -> Self {
        match name {
            SyncName::PerRound => Self::PerRound,
            SyncName::PerSection => Self::PerSection,
        }
    }
}

/// The file of the block at `index`: the index makes it unique, and of the name only what is harmless in
/// a file's name is in it.
pub(super) fn file_name(index: usize, name: &BlockName) -> String {
    let harmless = |char: char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' => char,
        _ => '_',
    };
    let name: String = name.as_str().chars().take(MAX_NAME).map(harmless).collect();
    format!("{index:02}-{name}")
}

/// Whether a file may be of a block: its name begins with an index.
pub(super) fn is_file_name(name: &str) -> bool {
    let index = name.split_once('-').map_or("", |(index, _)| index);
    index.len() >= 2 && index.bytes().all(|digit| digit.is_ascii_digit())
}

fn default_section_id() -> u32 {
    RAM_SECTION_ID
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls gets a reference"
)]
fn is_default_section_id(id: &u32) -> bool {
    *id == RAM_SECTION_ID
}

/// Of a block's name, so many characters are in its file's.
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            format: FORMAT.into(),
            version: PLAIN,
            machine: "pc-q35-10.0".into(),
            page_size: 4096,
            uuid: Uuid::default().to_string(),
            validate_uuid: false,
            target_page_bits: None,
            ram_section_id: RAM_SECTION_ID,
            sync_mode: SyncName::PerRound,
            blocks: vec![
                BlockEntry {
                    name: "pc.ram".into(),
                    length: 8192,
                    file: "00-pc.ram".into(),
                    data_bytes: 4096,
                    crc32: Some(0xcbf4_3926),
                },
                BlockEntry {
                    name: "/rom@etc/acpi/tables".into(),
                    length: 4096,
                    file: "01-_rom_etc_acpi_tables".into(),
                    data_bytes: 0,
                    crc32: None,
                },
            ],
            received_pages: 3,
            early_sections: None,
            devices: DevicesEntry {
                bytes: 6,
                sections: Some(0),
                crc32: None,
            },
            device_packets: None,
            received: Origin {
                date: "2026-02-28T12:00:00Z".into(),
                socket_address: "tcp:127.0.0.1:4444".into(),
                multifd_compression: "zstd".into(),
                multifd_channels: 4,
                program: "multifd 0.1.0".into(),
            },
        }
    }

    const EARLY: EarlyEntry = EarlyEntry {
        bytes: 90,
        sections: 2,
        crc32: Some(1),
    };

    #[test]
    fn it_is_written_and_read() {
        let text = serde_json::to_string_pretty(&manifest()).unwrap();
        assert!(text.contains("\"sync-mode\": \"per-round\""), "{text}");
        assert!(!text.contains("device-packets"), "{text}");
        let read: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, manifest());
        read.check().unwrap();
    }

    #[test]
    fn old_programs_read_what_loses_nothing() {
        type Change = fn(&mut Manifest);
        let changes: [(Change, u32); 6] = [
            (|_| {}, PLAIN),
            (
                |m| {
                    m.page_size = 8192;
                    m.blocks[1].length = 8192;
                },
                WITH_PAGES_AND_IDS,
            ),
            (|m| m.target_page_bits = Some(12), WITH_PAGES_AND_IDS),
            (|m| m.ram_section_id = 2, WITH_PAGES_AND_IDS),
            (|m| m.early_sections = Some(EARLY), WITH_EARLY_SECTIONS),
            (
                |m| {
                    m.ram_section_id = 2;
                    m.early_sections = Some(EARLY);
                },
                WITH_EARLY_SECTIONS,
            ),
        ];
        for (change, want) in changes {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.set_version();
            assert_eq!(manifest.version, want);
            manifest.check().unwrap();
            let text = serde_json::to_string_pretty(&manifest).unwrap();
            assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        }
    }

    #[test]
    fn nothing_is_believed_unchecked() {
        type Change = fn(&mut Manifest);
        let changes: [(Change, &str); 15] = [
            (|m| m.format = "zip".into(), "the format is"),
            (|m| m.version = 0, "reads versions 1 to 3"),
            (|m| m.version = 4, "reads versions 1 to 3"),
            (|m| m.page_size = 2048, "pages have"),
            (|m| m.page_size = 8192, "whole pages"),
            (|m| m.target_page_bits = Some(13), "pages have"),
            (|m| m.page_size = 0, "pages have"),
            (|m| m.uuid = "none".into(), "not a valid UUID"),
            (|m| m.blocks.clear(), "0 RAM blocks"),
            (
                |m| m.blocks[0].name = String::new(),
                "not a valid RAM block name",
            ),
            (
                |m| m.blocks[0].name = "a\0b".into(),
                "not a valid RAM block name",
            ),
            (|m| m.blocks[1].length = 4097, "whole pages"),
            (|m| m.blocks[1].length = 0, "whole pages"),
            (|m| m.blocks[0].file = "../secret".into(), "the file is"),
            (|m| m.blocks.swap(0, 1), "the file is"),
        ];
        for (change, want) in changes {
            let mut manifest = manifest();
            change(&mut manifest);
            let error = manifest.check().unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn files_have_harmless_names() {
        for (index, name, want) in [
            (0, "pc.ram", "00-pc.ram"),
            (7, "/rom@etc/acpi/rsdp", "07-_rom_etc_acpi_rsdp"),
            (1, "../../etc/passwd", "01-.._.._etc_passwd"),
            (12, "\u{1f4be}\n", "12-__"),
            (
                123,
                "0000:00:02.0/virtio-vga.vgamem",
                "123-0000_00_02.0_virtio-vga.vgamem",
            ),
        ] {
            assert_eq!(file_name(index, &BlockName::new(name).unwrap()), want);
        }
        let long = BlockName::new(&"x".repeat(255)).unwrap();
        assert_eq!(file_name(0, &long).len(), 3 + MAX_NAME);
    }
}
