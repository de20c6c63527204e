// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Device state that came over the channels.
//!
//! The file is a sequence of packets as they are on the wire: a header of 276 bytes, which says how long the
//! state behind it is. Those of one channel are in their order; those of several, in the order in which
//! they came.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use multifd_core::wire::{DEVICE_STATE_HEADER_LEN, DeviceStateHeader};
use multifd_core::{DeviceState, DeviceStateSink};
use std::sync::{Mutex, PoisonError};

use super::manifest::PacketsEntry;
use crate::disk::checksum::Checksum;

/// Where the channels' threads put packets.
#[derive(Clone, Default)]
pub(super) struct PacketFile(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    file: Option<File>,
    bytes: u64,
    packets: u64,
    checksum: Checksum,
}

impl PacketFile {
    /// Takes packets from now on.
    pub(super) fn open(&self, file: File) {
        self.lock().file = Some(file);
    }

    /// What the channels' threads call.
    pub(super) fn sink(&self) -> DeviceStateSink {
        let file = self.clone();
        Arc::new(move |packet| Ok(file.write(&packet)?))
    }

    /// Makes sure that what has come is on the disk; answers what that is.
    pub(super) fn finish(&self) -> io::Result<PacketsEntry> {
        let state = self.lock();
        if let Some(file) = &state.file {
            file.sync_all()?;
        }
        Ok(PacketsEntry {
            bytes: state.bytes,
            packets: state.packets,
            crc32: Some(state.checksum.value()),
        })
    }

    fn write(&self, packet: &DeviceState) -> io::Result<()> {
        let len = u32::try_from(packet.data.len()).map_err(io::Error::other)?;
        let header = DeviceStateHeader {
            idstr: packet.idstr.as_bytes(),
            instance_id: packet.instance_id,
            payload_len: len,
        };
        let header = header.encode().map_err(io::Error::other)?;
        let mut state = self.lock();
        let early =
            || io::Error::other("device state comes before the guest's memory is announced");
        let mut file = state.file.as_ref().ok_or_else(early)?;
        file.write_all(&header)?;
        file.write_all(&packet.data)?;
        state.bytes += DEVICE_STATE_HEADER_LEN as u64 + u64::from(len);
        state.packets += 1;
        state.checksum.update(&header);
        state.checksum.update(&packet.data);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads all packets of a file.
pub(crate) fn read_packets(file: impl Read) -> anyhow::Result<Vec<DeviceState>> {
    let mut file = BufReader::new(file);
    let (mut packets, mut offset) = (Vec::new(), 0_u64);
    loop {
        let (packet, len) = match read_packet(&mut file) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(packets),
            Err(error) => return Err(error.context(format!("the packet at byte {offset:#x}"))),
        };
        packets.push(packet);
        offset += len;
    }
}

/// Reads one packet and its length in bytes; `None` at the end.
fn read_packet(file: &mut impl Read) -> anyhow::Result<Option<(DeviceState, u64)>> {
    let mut header = Vec::new();
    file.take(DEVICE_STATE_HEADER_LEN as u64)
        .read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let header = header.first_chunk().context("the file ends in a header")?;
    let header = DeviceStateHeader::decode(header)?;
    let idstr = std::str::from_utf8(header.idstr).context("the device's name")?;
    let mut data = Vec::new();
    file.take(header.payload_len.into())
        .read_to_end(&mut data)?;
    let (got, want) = (data.len(), header.payload_len);
    ensure!(
        u32::try_from(got) == Ok(want),
        "the file ends after {got} bytes of {want}"
    );
    let len = DEVICE_STATE_HEADER_LEN as u64 + u64::from(want);
    Ok(Some((
        DeviceState::new(idstr, header.instance_id, data),
        len,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8) -> DeviceState {
        DeviceState::new(
            "0000:00:02.0/vfio",
            number.into(),
            vec![number; 5 + usize::from(number)],
        )
    }

    #[test]
    fn packets_are_kept_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets");
        let packets = PacketFile::default();
        let sink = packets.sink();
        assert!(
            sink(packet(0))
                .unwrap_err()
                .to_string()
                .contains("before the guest's memory")
        );
        assert_eq!(packets.finish().unwrap().packets, 0);
        packets.open(File::create(&path).unwrap());
        for number in 0..9 {
            sink(packet(number)).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        let entry = PacketsEntry {
            bytes: bytes.len() as u64,
            packets: 9,
            crc32: Some(Checksum::of(&bytes)),
        };
        assert_eq!(packets.finish().unwrap(), entry);
        let read = read_packets(&*bytes).unwrap();
        assert_eq!(read, (0..9).map(packet).collect::<Vec<_>>());
        for len in [1, 275, 276, 280, bytes.len() - 1] {
            let error = format!("{:#}", read_packets(&bytes[..len]).unwrap_err());
            assert!(error.contains("the file ends"), "{error}");
        }
        let error = format!("{:#}", read_packets(&[7; 600][..]).unwrap_err());
        assert!(error.contains("the packet at byte 0x0"), "{error}");
    }
}
