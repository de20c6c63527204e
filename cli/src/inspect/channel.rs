// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The recorded bytes of a multifd channel.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use multifd_core::PageSize;
use multifd_core::wire::{
    COMMON_HEADER_LEN, DEVICE_STATE_HEADER_LEN, DeviceStateHeader, INIT_PACKET_LEN, InitPacket,
    MULTIFD_MAGIC, MULTIFD_VERSION, MethodId, PacketFlags, ram_header_len,
};
use serde::Serialize;

use super::anomaly::Anomaly;

/// All of a channel, as far as it can be understood. Payloads are not decompressed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ChannelRecord {
    /// Of the recording.
    pub(super) bytes: u64,
    pub(super) uuid: Option<String>,
    pub(super) channel: Option<u8>,
    pub(super) packets: PacketCounts,
    pub(super) normal_pages: u64,
    pub(super) zero_pages: u64,
    pub(super) payload_bytes: u64,
    /// By name.
    pub(super) methods: BTreeSet<String>,
    pub(super) blocks: BTreeMap<String, PageCounts>,
    /// Device state packets, by device.
    pub(super) devices: BTreeMap<String, DeviceCounts>,
    /// Where the packets with the flag SYNC begin.
    pub(super) syncs: Vec<u64>,
    /// What a source must not send; the first ones.
    pub(super) anomalies: Vec<Anomaly>,
    /// How many more there are.
    pub(super) more_anomalies: u64,
    #[serde(skip)]
    pub(super) state: State,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PacketCounts {
    /// With pages.
    pub(super) data: u64,
    /// A SYNC without pages.
    pub(super) sync: u64,
    /// A SYNC with pages, as sources before 9.0 send them.
    pub(super) data_and_sync: u64,
    /// Neither pages nor SYNC, as sources before 9.0 send them.
    pub(super) empty: u64,
    pub(super) device_state: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PageCounts {
    pub(super) normal: u64,
    pub(super) zero: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DeviceCounts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What is known between two packets.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Where the packet begins that is being looked at.
    pub(super) offset: u64,
    pub(super) page_size: PageSize,
    pub(super) last_number: Option<u64>,
    pub(super) method: Option<MethodId>,
    pub(super) synced: bool,
    /// The pages since the last SYNC.
    pub(super) pages: HashSet<(u32, u64)>,
    pub(super) block_numbers: BTreeMap<String, u32>,
}

impl ChannelRecord {
    pub(super) fn read(path: &Path, page_size: Option<PageSize>) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let mut record = Self {
            bytes: file.metadata()?.len(),
            ..Self::default()
        };
        record.state.page_size = page_size.map_or_else(|| page_size_of(&file), Ok)?;
        record.read_all(&mut BufReader::with_capacity(1 << 20, file))?;
        Ok(record)
    }

    fn read_all(&mut self, file: &mut impl Read) -> io::Result<()> {
        let mut init = [0; INIT_PACKET_LEN];
        let got = fill(file, &mut init)?;
        if got < init.len() {
            self.cut("the initial packet", got, init.len());
            return Ok(());
        }
        match InitPacket::decode(&init) {
            Ok(init) => {
                self.uuid = Some(init.uuid.to_string());
                self.channel = Some(init.channel);
            }
            Err(error) => {
                self.note(error.to_string());
                return Ok(());
            }
        }
        self.state.offset = INIT_PACKET_LEN as u64;
        while self.read_packet(file)? {}
        Ok(())
    }

    /// Reads a packet; answers whether the next one can be found.
    fn read_packet(&mut self, file: &mut impl Read) -> io::Result<bool> {
        let mut header = vec![0; ram_header_len(self.state.page_size)];
        let Some(common) = header.first_chunk_mut::<COMMON_HEADER_LEN>() else {
            return Ok(false);
        };
        let got = fill(file, common)?;
        if got < common.len() {
            if got > 0 {
                self.cut("a packet's header", got, common.len());
            }
            return Ok(false);
        }
        let flags = match PacketFlags::read(common) {
            Ok(flags) => flags,
            Err(error) => {
                self.note(error.to_string());
                return Ok(false);
            }
        };
        if flags.bits() & !KNOWN_FLAGS != 0 {
            self.note(format!("flags {:#x} have unknown bits", flags.bits()));
        }
        if flags.is_device_state() {
            header.truncate(DEVICE_STATE_HEADER_LEN);
        }
        let rest = header.get_mut(COMMON_HEADER_LEN..).unwrap_or_default();
        let got = fill(file, rest)?;
        if got < rest.len() {
            self.cut("a packet's header", got + COMMON_HEADER_LEN, header.len());
            return Ok(false);
        }
        let payload_len = if flags.is_device_state() {
            self.device_state(&header)
        } else {
            self.ram(&header)
        };
        let Some(payload_len) = payload_len else {
            return Ok(false);
        };
        let got = io::copy(&mut file.take(payload_len), &mut io::sink())?;
        if got < payload_len {
            self.note(format!(
                "the recording ends in a payload: {got} bytes of {payload_len}"
            ));
            return Ok(false);
        }
        self.payload_bytes += payload_len;
        self.state.offset += header.len() as u64 + payload_len;
        Ok(true)
    }

    /// Looks at a device state packet's header; answers how long the state is, if that is known.
    fn device_state(&mut self, header: &[u8]) -> Option<u64> {
        let packet = match DeviceStateHeader::decode(header.first_chunk()?) {
            Ok(packet) => packet,
            Err(error) => {
                self.note(error.to_string());
                return None;
            }
        };
        self.packets.device_state += 1;
        let name = String::from_utf8_lossy(packet.idstr);
        let name = format!("{name} {}", packet.instance_id);
        if self.devices.len() < MAX_BLOCKS || self.devices.contains_key(&name) {
            let counts = self.devices.entry(name).or_default();
            counts.packets += 1;
            counts.bytes += u64::from(packet.payload_len);
        }
        Some(packet.payload_len.into())
    }

    fn cut(&mut self, what: &str, got: usize, want: usize) {
        self.note(format!(
            "the recording ends in {what}: {got} bytes of {want}"
        ));
    }

    /// Notes what is wrong with the packet that is being looked at.
    pub(super) fn note(&mut self, what: String) {
        if self.anomalies.len() < MAX_ANOMALIES {
            let offset = self.state.offset;
            self.anomalies.push(Anomaly { offset, what });
        } else {
            self.more_anomalies += 1;
        }
    }
}

/// The size of the guest's pages, as the length of the first header shows it: that is one of a SYNC packet, behind
/// which another packet begins.
fn page_size_of(file: &File) -> io::Result<PageSize> {
    let next = [MULTIFD_MAGIC.to_be_bytes(), MULTIFD_VERSION.to_be_bytes()].concat();
    let mut found = vec![0; next.len()];
    // The shortest header first: behind that anything may stand.
    for size in PageSize::ALL.into_iter().rev() {
        let at = INIT_PACKET_LEN + ram_header_len(size);
        match file.read_exact_at(&mut found, at as u64) {
            Ok(()) if found == next => return Ok(size),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
        }
    }
    Ok(PageSize::default())
}

/// Reads until the buffer is full or the end is there; answers how many bytes.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(room) = buffer.get_mut(got..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// SYNC, the method's bits, and DEVICE_STATE.
const KNOWN_FLAGS: u32 = 0x7f;
/// A recording that has more blocks or devices is not listed in full.
pub(super) const MAX_BLOCKS: usize = 16 * 1024;
const MAX_ANOMALIES: usize = 100;
