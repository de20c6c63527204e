// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes over the channels.

/// Size of the pages of all that is made here.
pub const PAGE: usize = 4096;

/// The initial packet of a channel of a VM without a UUID.
pub fn init(channel: u8) -> Vec<u8> {
    init_of([0; 16], channel)
}

/// The initial packet of a channel.
pub fn init_of(uuid: [u8; 16], channel: u8) -> Vec<u8> {
    let mut packet = vec![0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1];
    packet.extend(uuid);
    packet.push(channel);
    packet.resize(64, 0);
    packet
}

/// A SYNC packet.
pub fn sync() -> Vec<u8> {
    Packet {
        flags: SYNC,
        ..Packet::default()
    }
    .bytes()
}

/// A packet of device state, with the length that it announces.
pub fn device_state(idstr: &[u8], instance: u32, announced: u32, data: &[u8]) -> Vec<u8> {
    let words = [0x1122_3344, 1, DEVICE_STATE].map(u32::to_be_bytes);
    let mut bytes = words.concat();
    bytes.extend(padded(idstr));
    bytes.extend(instance.to_be_bytes());
    bytes.extend(announced.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A RAM packet, each of whose fields may be wrong. By default it is an empty one.
#[derive(Clone, Debug)]
pub struct Packet {
    /// `0x11223344`.
    pub magic: u32,
    /// 1.
    pub version: u32,
    /// [`SYNC`], [`DEVICE_STATE`] and the number of the method.
    pub flags: u32,
    /// Counted by sources, and read by nobody.
    pub number: u64,
    /// Places for offsets, as many as the pages' size makes.
    pub most_pages: usize,
    /// Room for offsets; `None` is what the offsets need: all places or none.
    pub alloc: Option<u32>,
    /// Offsets of pages with payload.
    pub normal: Vec<u64>,
    /// Offsets of zero pages.
    pub zero: Vec<u64>,
    /// How many pages with payload there are; `None` tells the truth.
    pub normal_count: Option<u32>,
    /// How many zero pages there are; `None` tells the truth.
    pub zero_count: Option<u32>,
    /// The length of the payload; `None` tells the truth.
    pub size: Option<u32>,
    /// The block's name, without a NUL.
    pub name: Vec<u8>,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            magic: 0x1122_3344,
            version: 1,
            flags: 0,
            number: 0,
            most_pages: MOST_PAGES,
            alloc: None,
            normal: Vec::new(),
            zero: Vec::new(),
            normal_count: None,
            zero_count: None,
            size: None,
            name: b"ram".to_vec(),
            payload: Vec::new(),
        }
    }
}

impl Packet {
    /// Pages of the block `ram` with their content, for the method `none`.
    pub fn of_pages(normal: &[u64]) -> Self {
        Self {
            normal: normal.to_vec(),
            payload: vec![0xaa; normal.len() * PAGE],
            ..Self::default()
        }
    }

    /// Zero pages of the block `ram`.
    pub fn of_zero_pages(zero: &[u64]) -> Self {
        Self {
            zero: zero.to_vec(),
            ..Self::default()
        }
    }

    /// One page of the block `ram`, with this payload of this method.
    pub fn of_payload(method: u32, payload: &[u8]) -> Self {
        Self {
            flags: method,
            normal: vec![0],
            payload: payload.to_vec(),
            ..Self::default()
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let offsets: Vec<u64> = [&self.normal[..], &self.zero[..]].concat();
        let alloc = self.alloc.unwrap_or(match offsets.len() {
            0 => 0,
            _ => count(self.most_pages),
        });
        let normal = self.normal_count.unwrap_or(count(self.normal.len()));
        let zero = self.zero_count.unwrap_or(count(self.zero.len()));
        let size = self.size.unwrap_or(count(self.payload.len()));
        let head = [self.magic, self.version, self.flags, alloc, normal, size];
        let mut bytes = head.map(u32::to_be_bytes).concat();
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(zero.to_be_bytes());
        bytes.extend([0; 28]);
        bytes.extend(padded(&self.name));
        let all = offsets.iter().copied().chain(std::iter::repeat(0));
        bytes.extend(all.take(self.most_pages).flat_map(u64::to_be_bytes));
        bytes.extend(&self.payload);
        bytes
    }
}

/// A name in 256 bytes.
fn padded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().copied().chain(std::iter::repeat(0)).take(256)
}

/// A barrier.
pub const SYNC: u32 = 1;
/// The packet is no RAM packet.
pub const DEVICE_STATE: u32 = 0x40;

/// A packet's places for offsets of pages of [`PAGE`] bytes.
const MOST_PAGES: usize = 128;
