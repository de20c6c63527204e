// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Records for humans.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::channel::{ChannelRecord, DeviceCounts};
use super::devices::DevicesRecord;
use super::early::EarlyRecord;
use super::folder::{Checksums, FolderRecord};
use super::main_channel::{MainRecord, RamRecord, RamSectionRecord};
use crate::disk::saved::EarlyDevice;
use crate::show::units::Bytes;

impl Display for FolderRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let manifest = &self.manifest;
        let received = &manifest.received;
        writeln!(f, "saved migration of {}", shown(&manifest.machine))?;
        writeln!(
            f,
            "received {} on {} with {}, {} channels, by {}",
            shown(&received.date),
            shown(&received.socket_address),
            shown(&received.multifd_compression),
            received.multifd_channels,
            shown(&received.program)
        )?;
        if self.unreleased {
            writeln!(f, "kept unreleased: its source may run it")?;
        }
        let validated = match manifest.validate_uuid {
            true => ", named in the configuration",
            false => "",
        };
        writeln!(
            f,
            "UUID {}{validated}; barriers {}",
            manifest.uuid, manifest.sync_mode
        )?;
        writeln!(
            f,
            "\nRAM blocks, {} pages received:",
            manifest.received_pages
        )?;
        for block in &manifest.blocks {
            let (length, data) = (size(block.length), size(block.data_bytes));
            writeln!(
                f,
                "  {:<32} {length:>12}, {data} not zero: ram/{}",
                shown(&block.name),
                block.file
            )?;
        }
        match self.checksums {
            Checksums::NotCompared => {}
            Checksums::Match => writeln!(f, "  all checksums match")?,
            Checksums::Missing => {
                writeln!(f, "  not all blocks have a checksum; those that do match")?
            }
        }
        writeln!(f)?;
        print_early_devices(f, &self.early_sections)?;
        self.devices.fmt(f)?;
        print_packets(f, &self.device_packets)
    }
}

impl Display for MainRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "main channel, {} bytes", self.bytes)?;
        if let Some(machine) = &self.machine {
            write!(f, "machine {machine:?}")?;
            if let Some(uuid) = &self.uuid {
                write!(f, ", UUID {uuid}")?;
            }
            if let Some(bits) = self.page_bits {
                write!(f, ", {bits} page bits")?;
            }
            writeln!(f)?;
        }
        if !self.commands.is_empty() {
            writeln!(f, "\ncommands:")?;
        }
        for command in &self.commands {
            let value = command.value.map(|value| format!(" {value:#x}"));
            writeln!(
                f,
                "  {:>#10x}  {}{}",
                command.offset,
                command.name,
                value.unwrap_or_default()
            )?;
        }
        if !self.early_sections.is_empty() {
            let count = self.early_sections.len();
            writeln!(f, "\nother sections before the end of RAM: {count}")?;
            print_some(f, &self.early_sections)?;
        }
        if let Some(ram) = &self.ram {
            writeln!(f)?;
            ram.fmt(f)?;
        }
        if let Some(devices) = &self.devices {
            writeln!(f)?;
            devices.fmt(f)?;
        }
        if let Some(error) = &self.error {
            writeln!(
                f,
                "\nwrong at byte {:#x}: {}",
                error.offset,
                shown(&error.what)
            )?;
        }
        Ok(())
    }
}

impl Display for RamRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "RAM blocks, section id {}:", self.section_id)?;
        for block in &self.blocks {
            let length = size(block.length);
            writeln!(
                f,
                "  {:<32} {length:>12} ({:#x} bytes)",
                shown(&block.name),
                block.length
            )?;
        }
        let count = self.sections.len();
        writeln!(
            f,
            "RAM sections: {count}, with {} barriers ({}) and {} zero pages",
            self.syncs,
            self.sync_mode.unwrap_or("none"),
            self.zero_pages
        )?;
        print_some(f, &self.sections)
    }
}

impl Display for RamSectionRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:>#10x}  {:<5}  {} bytes, {} barriers, {} zero pages",
            self.offset, self.part, self.bytes, self.syncs, self.zero_pages
        )
    }
}

impl Display for EarlyRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:>#10x}  {:<5}  {:<25} instance {}, version {}, id {}, {} bytes{}",
            self.offset,
            self.part,
            shown(&self.name),
            self.instance,
            self.version,
            self.id,
            self.bytes,
            where_it_is(self.before_ram)
        )
    }
}

impl Display for DevicesRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.sections {
            Some(sections) => {
                writeln!(f, "device sections: {}", sections.len())?;
                for section in sections {
                    writeln!(
                        f,
                        "  {:>#10x}  {:<32} instance {}, version {}, id {}, {} bytes",
                        section.offset,
                        shown(&section.name),
                        section.instance,
                        section.version,
                        section.id,
                        section.bytes
                    )?;
                }
            }
            None => writeln!(
                f,
                "device state: {} bytes that no description leads through",
                self.bytes
            )?,
        }
        match &self.description {
            Some(description) => {
                write!(f, "VM description: {} bytes", description.bytes)?;
                if let Some(devices) = description.devices {
                    write!(f, ", {devices} devices")?;
                }
                if let Some(page_size) = description.page_size {
                    write!(f, ", pages of {page_size} bytes")?;
                }
                writeln!(f)
            }
            None => writeln!(f, "no VM description"),
        }
    }
}

impl Display for ChannelRecord {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "multifd channel, {} bytes", self.bytes)?;
        if let (Some(channel), Some(uuid)) = (self.channel, &self.uuid) {
            writeln!(f, "channel {channel} of the VM {uuid}")?;
        }
        let packets = &self.packets;
        writeln!(
            f,
            "\npackets: {} with pages, {} SYNC, {} with pages and SYNC, {} empty, {} of device state",
            packets.data, packets.sync, packets.data_and_sync, packets.empty, packets.device_state
        )?;
        let methods: Vec<_> = self.methods.iter().map(String::as_str).collect();
        let payload = size(self.payload_bytes);
        writeln!(
            f,
            "pages: {} normal, {} zero; payload {payload}; method {}",
            self.normal_pages,
            self.zero_pages,
            if methods.is_empty() {
                "-".into()
            } else {
                methods.join(", ")
            }
        )?;
        for (name, pages) in &self.blocks {
            writeln!(
                f,
                "  {:<32} {} normal, {} zero",
                shown(name),
                pages.normal,
                pages.zero
            )?;
        }
        print_packets(f, &self.devices)?;
        if !self.anomalies.is_empty() {
            let count = self.anomalies.len() as u64 + self.more_anomalies;
            writeln!(f, "\nwrong: {count}")?;
        }
        for anomaly in &self.anomalies {
            writeln!(f, "  {:>#10x}  {}", anomaly.offset, shown(&anomaly.what))?;
        }
        Ok(())
    }
}

fn print_early_devices(f: &mut Formatter<'_>, devices: &[EarlyDevice]) -> fmt::Result {
    if !devices.is_empty() {
        writeln!(f, "device state before the end of RAM:")?;
    }
    for device in devices {
        writeln!(
            f,
            "  {:<32} instance {}, version {}, id {}, {} sections, {} bytes{}",
            shown(&device.name),
            device.instance,
            device.version,
            device.id,
            device.sections,
            device.bytes,
            where_it_is(device.before_ram)
        )?;
    }
    Ok(())
}

fn where_it_is(before_ram: bool) -> &'static str {
    match before_ram {
        true => ", before RAM",
        false => "",
    }
}

/// Prints the first and the last of a long list.
fn print_some(f: &mut Formatter<'_>, list: &[impl Display]) -> fmt::Result {
    let count = list.len();
    let hidden = count.saturating_sub(2 * SHOWN);
    for (number, one) in list.iter().enumerate() {
        if hidden > 0 && (SHOWN..count - SHOWN).contains(&number) {
            if number == SHOWN {
                writeln!(f, "              ... {hidden} more, --json has them")?;
            }
            continue;
        }
        one.fmt(f)?;
    }
    Ok(())
}

fn print_packets(f: &mut Formatter<'_>, devices: &BTreeMap<String, DeviceCounts>) -> fmt::Result {
    if !devices.is_empty() {
        writeln!(f, "device state over channels:")?;
    }
    for (name, counts) in devices {
        let bytes = size(counts.bytes);
        let name = shown(name);
        writeln!(f, "  {name:<32} {} packets, {bytes}", counts.packets)?;
    }
    Ok(())
}

/// A name that came from a peer, without what would move a terminal's cursor.
fn shown(text: &str) -> String {
    let escape = |char: char| char.escape_debug();
    let shown = text.chars().map(|char| match char.is_control() {
        true => escape(char).to_string(),
        false => char.to_string(),
    });
    shown.collect()
}

fn size(bytes: u64) -> String {
    Bytes(bytes).to_string()
}

/// Sections that are shown of a long list, from its start and from its end.
const SHOWN: usize = 10;
