// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The header of a RAM packet in a recording: what it counts as, and what is wrong with it.

use multifd_core::geometry::MAX_PAYLOAD;
use multifd_core::wire::{MethodId, RamHeader};

use super::channel::{ChannelRecord, MAX_BLOCKS};

impl ChannelRecord {
    /// Looks at a RAM packet's header; answers how long its payload is, if that is known.
    pub(super) fn ram(&mut self, header: &[u8]) -> Option<u64> {
        let packet = match RamHeader::decode(header, self.state.page_size) {
            Ok(packet) => packet,
            Err(error) => {
                self.note(error.to_string());
                return None;
            }
        };
        let (is_sync, has_pages) = (packet.flags.is_sync(), !packet.is_empty());
        let packets = &mut self.packets;
        *match (has_pages, is_sync) {
            (true, true) => &mut packets.data_and_sync,
            (true, false) => &mut packets.data,
            (false, true) => &mut packets.sync,
            (false, false) => &mut packets.empty,
        } += 1;
        let last = self.state.last_number.replace(packet.packet_num);
        if let Some(last) = last.filter(|last| *last >= packet.packet_num) {
            self.note(format!("packet number {} after {last}", packet.packet_num));
        }
        if has_pages {
            self.pages(&packet);
        }
        if is_sync {
            self.syncs.push(self.state.offset);
            self.state.synced = true;
            self.state.pages.clear();
        }
        Some(packet.payload_len as u64)
    }

    fn pages(&mut self, packet: &RamHeader<'_>) {
        let (normal, zero) = (packet.normal_pages(), packet.zero_pages());
        self.normal_pages += normal as u64;
        self.zero_pages += zero as u64;
        let name = String::from_utf8_lossy(packet.block).into_owned();
        if name.is_empty() {
            self.note("pages of a block without a name".into());
        }
        if self.blocks.len() < MAX_BLOCKS || self.blocks.contains_key(&name) {
            let counts = self.blocks.entry(name.clone()).or_default();
            counts.normal += normal as u64;
            counts.zero += zero as u64;
        }
        if !self.state.synced {
            self.note("pages before the first SYNC".into());
        }
        self.method(packet.flags.method());
        self.payload(packet);
        self.offsets(&name, packet);
    }

    fn method(&mut self, method: MethodId) {
        self.methods.insert(method.to_string());
        let before = self.state.method.replace(method);
        if let Some(before) = before.filter(|before| *before != method) {
            self.note(format!("the method is {method} after {before}"));
        }
    }

    fn payload(&mut self, packet: &RamHeader<'_>) {
        let (got, pages) = (packet.payload_len, packet.normal_pages());
        let as_they_are = pages * self.state.page_size.bytes();
        let fits = match packet.flags.method() {
            MethodId::NONE => got == as_they_are,
            _ => pages == 0 || (1..=MAX_PAYLOAD).contains(&got),
        };
        if !fits {
            let method = packet.flags.method();
            self.note(format!(
                "a payload of {got} bytes for {pages} pages with {method}"
            ));
        }
    }

    fn offsets(&mut self, name: &str, packet: &RamHeader<'_>) {
        let numbers = &mut self.state.block_numbers;
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let block = *numbers.entry(name.to_owned()).or_insert(next);
        for offset in packet.offsets() {
            if !self.state.page_size.is_aligned(offset) {
                self.note(format!(
                    "page offset {offset:#x} of block {name} is not aligned"
                ));
            }
            // Of a round that is larger, only its beginning is looked at.
            if self.state.pages.len() < MAX_PAGES && !self.state.pages.insert((block, offset)) {
                self.note(format!(
                    "page {offset:#x} of block {name} comes twice between two SYNCs"
                ));
            }
        }
    }
}

/// 16 GiB of guest memory.
const MAX_PAGES: usize = 4 << 20;
