// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a guest is, and the main channel that says so.

use crate::by_hand::main_stream::{
    END, EOS, FULL, MEM_SIZE, PART, START, barrier, block, device, head_of, section, tail_with,
    word,
};

/// A guest that is stopped: everything that its source says of it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The machine type.
    pub machine: Vec<u8>,
    /// The sub-sections of the configuration, in this order.
    pub page_bits: Option<u32>,
    /// The list of capabilities is there, and empty.
    pub no_capabilities: bool,
    /// The UUID stands in the configuration, too.
    pub validate_uuid: bool,
    /// What the channels say.
    pub uuid: [u8; 16],
    /// Bytes of a page.
    pub page_size: usize,
    /// The id of RAM's sections.
    pub ram_section_id: u32,
    /// The end of each section of RAM is a barrier; otherwise a FLUSH word is.
    pub per_section: bool,
    /// Memory.
    pub blocks: Vec<Block>,
    /// What devices send before the end of RAM.
    pub early: Early,
    /// All that comes behind RAM.
    pub tail: Vec<u8>,
}

/// Whole sections of devices that stand before the end of RAM.
#[derive(Clone, Debug, Default)]
pub struct Early {
    /// Between the configuration and the start of RAM.
    pub before: Vec<u8>,
    /// Behind RAM's START section.
    pub behind: Vec<u8>,
    /// Behind RAM's PART section, which is only there if there are such.
    pub beside: Vec<u8>,
    /// What ends some of them, in front of all that comes behind RAM.
    pub tail: Vec<u8>,
    /// Names and lengths of those that a VM description names first.
    pub described: Vec<(String, usize)>,
}

/// A RAM block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its name.
    pub name: Vec<u8>,
    /// All of its pages.
    pub content: Vec<u8>,
}

impl Stream {
    /// A guest without anything special, with this memory in the block `ram`.
    #[must_use]
    pub fn plain(content: Vec<u8>) -> Self {
        Self {
            machine: b"none".to_vec(),
            page_bits: None,
            no_capabilities: false,
            validate_uuid: false,
            uuid: [0; 16],
            page_size: 4096,
            ram_section_id: 1,
            per_section: false,
            blocks: vec![Block {
                name: b"ram".to_vec(),
                content,
            }],
            early: Early::default(),
            tail: devices(&[("timer", 24), ("globalstate", 104)], &[]),
        }
    }

    /// All of the main channel, without commands: RAM's END section has the barrier behind all pages.
    #[must_use]
    pub fn main(&self) -> Vec<u8> {
        let mut main = self.head();
        main.extend(&self.early.before);
        let words = self.block_list();
        main.extend(self.ram_section(START, &[device(b"ram", 4), words].concat()));
        main.extend(&self.early.behind);
        if self.has_part() {
            main.extend(self.ram_section(PART, &[]));
            main.extend(&self.early.beside);
        }
        main.extend(self.ram_section(END, &[]));
        main.extend(&self.tail);
        main
    }

    /// Whether RAM has a PART section, with a barrier of its own.
    pub(super) fn has_part(&self) -> bool {
        !self.early.beside.is_empty()
    }

    /// The main channel up to the end of the configuration.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = head_of(&self.machine);
        if let Some(bits) = self.page_bits {
            head.extend(subsection("target-page-bits", &bits.to_be_bytes()));
        }
        if self.no_capabilities {
            head.extend(subsection("capabilities", &[0; 4]));
        }
        if self.validate_uuid {
            head.extend(subsection("uuid", &self.uuid));
        }
        head
    }

    fn block_list(&self) -> Vec<u8> {
        let len = |block: &Block| block.content.len() as u64;
        let total: u64 = self.blocks.iter().map(len).sum();
        let mut list = word(total | MEM_SIZE);
        for one in &self.blocks {
            list.extend(block(&one.name, len(one)));
        }
        list
    }

    fn ram_section(&self, kind: u8, data: &[u8]) -> Vec<u8> {
        let end = match self.per_section {
            true => word(EOS),
            false => barrier(),
        };
        section(kind, self.ram_section_id, &[data, &end].concat())
    }
}

/// Device sections of these names and lengths, the end mark, and a VM description, in which the `early` ones
/// stand first.
#[must_use]
pub fn devices(devices: &[(&str, usize)], early: &[(&str, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, (name, len)) in (100_u32..).zip(devices) {
        bytes.extend(full(number, name, &vec![0x5a; *len]));
    }
    let described = early.iter().chain(devices).map(|(name, len)| {
        serde_json::json!({
            "name": name, "instance_id": 0, "vmsd_name": name, "version": 1,
            "fields": [{"name": "data", "type": "buffer", "size": len}],
        })
    });
    let text = serde_json::json!({
        "configuration": {},
        "page_size": 4096,
        "devices": described.collect::<Vec<_>>(),
    });
    let text = text.to_string().into_bytes();
    bytes.extend(tail_with(&text));
    bytes
}

/// A FULL section, version 1.
#[must_use]
pub fn full(id: u32, name: &str, data: &[u8]) -> Vec<u8> {
    section(FULL, id, &[&device(name.as_bytes(), 1), data].concat())
}

fn subsection(name: &str, data: &[u8]) -> Vec<u8> {
    let name = short(format!("configuration/{name}").as_bytes());
    [&[5], &name[..], &[0, 0, 0, 1], data].concat()
}

/// What has a byte of length before it.
fn short(text: &[u8]) -> Vec<u8> {
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[len], text].concat()
}
