// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The state of a device: what is sent, and where it is in what was received.

/// Where one device's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionInfo {
    /// The section's id, a number that the source has chosen.
    pub id: u32,
    /// The device, for instance `timer` or `0000:00:02.0/virtio-net`.
    pub idstr: String,
    /// Which one of the devices of this name.
    pub instance: u32,
    /// The version of the state's layout.
    pub version: u32,
    /// Where the state begins in [`Tail::bytes`](super::Tail::bytes).
    pub offset: usize,
    /// How many bytes of state there are.
    pub len: usize,
}

/// A device's state to send, opaque bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSection {
    /// The device, 1 to 255 bytes.
    pub name: String,
    /// Which one of the devices of this name.
    pub instance: u32,
    /// The version of the state's layout.
    pub version: u32,
    /// The state.
    pub data: Vec<u8>,
}
