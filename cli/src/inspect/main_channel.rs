// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The recorded bytes of a main channel.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use multifd_core::PageSize;
use multifd_migration::stream::{
    Command, Event, Incoming, MAX_TAIL_LEN, RamPart, Reader, SyncMode, Tail,
};
use serde::Serialize;

use super::anomaly::Anomaly;
use super::devices::DevicesRecord;
use super::early::EarlyRecord;
use super::recording::Recording;

/// All of a main channel, section by section, as far as it can be understood.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MainRecord {
    /// Of the recording.
    pub(super) bytes: u64,
    pub(super) machine: Option<String>,
    pub(super) page_bits: Option<u32>,
    /// From the configuration.
    pub(super) uuid: Option<String>,
    pub(super) commands: Vec<CommandRecord>,
    /// Sections that are not RAM's, before its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) early_sections: Vec<EarlyRecord>,
    pub(super) ram: Option<RamRecord>,
    pub(super) devices: Option<DevicesRecord>,
    /// Why it was not understood to the end.
    pub(super) error: Option<Anomaly>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CommandRecord {
    pub(super) offset: u64,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<u32>,
}

/// Memory, as the main channel has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RamRecord {
    pub(super) section_id: u32,
    /// `per-round` or `per-section`.
    pub(super) sync_mode: Option<&'static str>,
    pub(super) blocks: Vec<BlockRecord>,
    /// Over all sections.
    pub(super) syncs: u64,
    pub(super) zero_pages: u64,
    pub(super) sections: Vec<RamSectionRecord>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct BlockRecord {
    pub(super) name: String,
    pub(super) length: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RamSectionRecord {
    pub(super) offset: u64,
    /// `start`, `part` or `end`.
    pub(super) part: &'static str,
    pub(super) bytes: u64,
    /// Points where the channels meet.
    pub(super) syncs: u64,
    /// Pages that are named as zero here.
    pub(super) zero_pages: u64,
}

impl MainRecord {
    pub(super) fn read(path: &Path, page_size: Option<PageSize>) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let mut record = Self {
            bytes: file.metadata()?.len(),
            ..Self::default()
        };
        let reader = Reader::new(Box::new(Recording::new(file)), &[]);
        let mut stream = Incoming::new(reader, page_size);
        match record.read_sections(&mut stream) {
            Ok(()) => {
                let early = stream.early_full_sections();
                record.read_tail(path, stream.reader_mut().offset(), early)?;
            }
            Err(error) => {
                record.error = Some(Anomaly {
                    offset: error.at().offset,
                    what: error
                        .problem()
                        .map_or_else(|| error.to_string(), ToString::to_string),
                });
            }
        }
        Ok(record)
    }

    /// Reads up to the end of RAM.
    fn read_sections(
        &mut self,
        stream: &mut Incoming,
    ) -> Result<(), multifd_migration::stream::StreamError> {
        let mut section: Option<RamSectionRecord> = None;
        loop {
            let offset = stream.reader_mut().offset();
            let event = stream.next_event()?;
            EarlyRecord::note(
                &mut self.early_sections,
                &event,
                offset,
                stream.early_place(),
            );
            let new = || RamSectionRecord {
                offset,
                part: "",
                bytes: 0,
                syncs: 0,
                zero_pages: 0,
            };
            match event {
                Event::Configuration(configuration) => {
                    self.machine = Some(configuration.machine);
                    self.page_bits = configuration.page_bits;
                    self.uuid = configuration.uuid.map(|uuid| uuid.to_string());
                }
                Event::Command(command) => self.commands.push(CommandRecord::new(offset, command)),
                Event::RamStart { section_id, blocks } => {
                    let blocks = blocks.iter().map(|block| BlockRecord {
                        name: block.name.as_str().to_owned(),
                        length: block.used_length,
                    });
                    self.ram = Some(RamRecord {
                        section_id,
                        sync_mode: None,
                        blocks: blocks.collect(),
                        syncs: 0,
                        zero_pages: 0,
                        sections: Vec::new(),
                    });
                    section = Some(new());
                }
                Event::Sync => section.get_or_insert_with(new).syncs += 1,
                Event::ZeroPage { .. } => section.get_or_insert_with(new).zero_pages += 1,
                Event::SectionEnd(part) => {
                    let mut section = section.take().unwrap_or_else(new);
                    section.part = part_name(part);
                    section.bytes = stream.reader_mut().offset() - section.offset;
                    self.add(section, stream.sync_mode());
                    if part == RamPart::End {
                        return Ok(());
                    }
                }
                // No sections of RAM: they have been noted.
                _ => {}
            }
        }
    }

    fn add(&mut self, section: RamSectionRecord, mode: Option<SyncMode>) {
        if let Some(ram) = &mut self.ram {
            ram.sync_mode = mode.map(|mode| match mode {
                SyncMode::PerRound => "per-round",
                SyncMode::PerSection => "per-section",
            });
            ram.syncs += section.syncs;
            ram.zero_pages += section.zero_pages;
            ram.sections.push(section);
        }
    }

    /// Reads what is behind RAM: nothing comes after it but what a source of this project says when it
    /// has given the guest up.
    fn read_tail(&mut self, path: &Path, offset: u64, early: usize) -> anyhow::Result<()> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        let limit = MAX_TAIL_LEN as u64 + LAST_PING_LEN as u64;
        file.take(limit)
            .read_to_end(&mut bytes)
            .context("cannot be read")?;
        let parsed = match split_last_ping(&bytes) {
            Some((tail, value))
                if Tail::parse_behind(tail.to_vec(), early)
                    .is_ok_and(|tail| tail.sections.is_some()) =>
            {
                let offset = offset + tail.len() as u64;
                let command = CommandRecord::new(offset, Command::Ping(value));
                self.commands.push(command);
                Tail::parse_behind(tail.to_vec(), early)
            }
            _ => Tail::parse_behind(bytes, early),
        };
        match parsed {
            Ok(tail) => self.devices = Some(DevicesRecord::new(&tail, offset)),
            Err(problem) => {
                let what = problem.to_string();
                self.error = Some(Anomaly { offset, what });
            }
        }
        Ok(())
    }
}

impl CommandRecord {
    fn new(offset: u64, command: Command) -> Self {
        Self {
            offset,
            name: command.id().to_string(),
            value: match command {
                Command::Ping(value) => Some(value),
                _ => None,
            },
        }
    }
}

/// Takes a PING from the end of a stream, if one is there; answers its value, too.
fn split_last_ping(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let (rest, ping) = bytes.split_last_chunk::<LAST_PING_LEN>()?;
    let (head, value) = ping.split_first_chunk::<5>()?;
    let value = value.first_chunk().copied().map(u32::from_be_bytes)?;
    (*head == PING_HEAD).then_some((rest, value))
}

fn part_name(part: RamPart) -> &'static str {
    match part {
        RamPart::Start => "start",
        RamPart::Part => "part",
        RamPart::End => "end",
    }
}

/// A command, PING, four bytes.
const PING_HEAD: [u8; 5] = [8, 0, 2, 0, 4];
const LAST_PING_LEN: usize = PING_HEAD.len() + 4;
