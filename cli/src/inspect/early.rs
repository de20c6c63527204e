// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections before the end of RAM that are not RAM's, in a recording.

use multifd_migration::stream::{EarlyPlace, Event, SectionHead, SectionKind};
use serde::Serialize;

/// One section.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct EarlyRecord {
    /// Of its first byte.
    pub(super) offset: u64,
    /// `start`, `part`, `end` or `full`.
    pub(super) part: &'static str,
    pub(super) name: String,
    pub(super) instance: u32,
    pub(super) version: u32,
    pub(super) id: u32,
    pub(super) before_ram: bool,
    /// Of its data.
    pub(super) bytes: u64,
}

impl EarlyRecord {
    /// Takes an event at this offset into the list, if it is one of these sections.
    pub(super) fn note(list: &mut Vec<Self>, event: &Event, offset: u64, place: EarlyPlace) {
        match event {
            Event::EarlyStart(head) => list.push(Self::new(head, offset, place)),
            Event::EarlyData(data) => {
                if let Some(last) = list.last_mut() {
                    last.bytes += data.len() as u64;
                }
            }
            _ => {}
        }
    }

    fn new(head: &SectionHead, offset: u64, place: EarlyPlace) -> Self {
        Self {
            offset,
            part: match head.kind {
                SectionKind::Start => "start",
                SectionKind::Part => "part",
                SectionKind::End => "end",
                SectionKind::Full => "full",
            },
            name: head.idstr.clone(),
            instance: head.instance,
            version: head.version,
            id: head.id,
            before_ram: place == EarlyPlace::BeforeRam,
            bytes: 0,
        }
    }
}
