// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes over the main connection.

/// The magic, the version and a configuration of the machine `none`.
pub fn head() -> Vec<u8> {
    head_of(b"none")
}

/// As [`head`], of another machine.
pub fn head_of(machine: &[u8]) -> Vec<u8> {
    let mut bytes = b"QEVM\0\0\0\x03\x07".to_vec();
    bytes.extend(length(machine).to_be_bytes());
    bytes.extend(machine);
    bytes
}

/// A command with its data.
pub fn command(id: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
    [&[8][..], &id.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

/// The source opens the return path.
pub fn open_return_path() -> Vec<u8> {
    command(1, &[])
}

/// A PING.
pub fn ping(value: u32) -> Vec<u8> {
    command(2, &value.to_be_bytes())
}

/// Device state may come over the channels.
pub fn switchover_start() -> Vec<u8> {
    command(11, &[])
}

/// A section: its first byte and number, its body and its footer.
pub fn section(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    [&[kind][..], &id, body, &[0x7e], &id].concat()
}

/// What a section of the device `name` begins with.
pub fn device(name: &[u8], version: u32) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
    bytes.extend(name);
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes
}

/// A block in the list of RAM's START section.
pub fn block(name: &[u8], len: u64) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
    bytes.extend(name);
    bytes.extend(len.to_be_bytes());
    bytes
}

/// RAM's START section: a sum of lengths, the list of blocks, and a barrier.
pub fn ram_start(total: u64, blocks: &[u8]) -> Vec<u8> {
    ram_start_of(1, total, blocks)
}

/// As [`ram_start`], with another number.
pub fn ram_start_of(id: u32, total: u64, blocks: &[u8]) -> Vec<u8> {
    let mut body = device(b"ram", 4);
    body.extend((total | MEM_SIZE).to_be_bytes());
    body.extend(blocks);
    body.extend(barrier());
    section(START, id, &body)
}

/// RAM's START section of one block.
pub fn ram_start_with(name: &[u8], len: u64) -> Vec<u8> {
    ram_start(len, &block(name, len))
}

/// A PART section of RAM with this body.
pub fn ram_part(body: &[u8]) -> Vec<u8> {
    section(PART, 1, body)
}

/// RAM's END section, with its barrier.
pub fn ram_end() -> Vec<u8> {
    section(END, 1, &barrier())
}

/// A word of RAM.
pub fn word(word: u64) -> Vec<u8> {
    word.to_be_bytes().to_vec()
}

/// The mark of a barrier, and the end of what a section of RAM says.
pub fn barrier() -> Vec<u8> {
    [word(MULTIFD_FLUSH), word(EOS)].concat()
}

/// The end of the device state, of which there is none, and its description.
pub fn tail() -> Vec<u8> {
    tail_with(b"{\"devices\":[]}")
}

/// The end of the device state with this description.
pub fn tail_with(description: &[u8]) -> Vec<u8> {
    let len = length(description).to_be_bytes();
    [&[0, 6][..], &len, description].concat()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Types of sections.
pub const START: u8 = 1;
/// See [`START`].
pub const PART: u8 = 2;
/// See [`START`].
pub const END: u8 = 3;
/// See [`START`].
pub const FULL: u8 = 4;

/// Flags in words of RAM.
pub const ZERO: u64 = 0x02;
/// See [`ZERO`].
pub const MEM_SIZE: u64 = 0x04;
/// See [`ZERO`].
pub const PAGE: u64 = 0x08;
/// See [`ZERO`].
pub const EOS: u64 = 0x10;
/// See [`ZERO`].
pub const CONTINUE: u64 = 0x20;
/// See [`ZERO`].
pub const MULTIFD_FLUSH: u64 = 0x200;
