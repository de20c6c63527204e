// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What stands behind the memory.

use multifd_migration::stream::Tail;
use serde::{Deserialize, Serialize};

/// Device sections, end mark and VM description.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DevicesRecord {
    /// Bytes before it.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Missing if no VM description leads through them.
    pub(super) sections: Option<Vec<SectionRecord>>,
    pub(super) description: Option<DescriptionRecord>,
}

/// One device's section.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SectionRecord {
    /// Of its state, in the stream.
    pub(super) offset: u64,
    pub(super) name: String,
    pub(super) instance: u32,
    pub(super) id: u32,
    pub(super) version: u32,
    /// Of its state.
    pub(super) bytes: usize,
}

/// What the VM description says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DescriptionRecord {
    pub(super) bytes: usize,
    pub(super) page_size: Option<u64>,
    /// How many devices it lists; missing if it is too long to look into.
    pub(super) devices: Option<usize>,
}

impl DevicesRecord {
    /// `offset` is where the tail begins.
    pub(super) fn new(tail: &Tail, offset: u64) -> Self {
        let sections = tail.sections.as_ref().map(|sections| {
            let sections = sections.iter().map(|section| SectionRecord {
                offset: offset + section.offset as u64,
                name: section.idstr.clone(),
                instance: section.instance,
                id: section.id,
                version: section.version,
                bytes: section.len,
            });
            sections.collect()
        });
        let description = tail.description.clone();
        let description = description.map(|range| {
            let text = tail.bytes.get(range).unwrap_or_default();
            DescriptionRecord::new(text)
        });
        Self {
            offset,
            bytes: tail.bytes.len() as u64,
            sections,
            description,
        }
    }
}

impl DescriptionRecord {
    fn new(text: &[u8]) -> Self {
        let summary = match text.len() {
            ..=MAX_SUMMARY => serde_json::from_slice::<Summary>(text).ok(),
            _ => None,
        };
        Self {
            bytes: text.len(),
            page_size: summary.as_ref().and_then(|summary| summary.page_size),
            devices: summary.map(|summary| summary.devices.len()),
        }
    }
}

#[derive(Deserialize)]
struct Summary {
    page_size: Option<u64>,
    devices: Vec<serde::de::IgnoredAny>,
}

/// Most bytes of a VM description that is looked into.
const MAX_SUMMARY: usize = 64 << 20;
