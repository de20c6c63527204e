//! The names in a folder.

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const RAM: &str = "ram";
pub(super) const DEVICES: &str = "devices.bin";
pub(super) const PACKETS: &str = "device-packets.bin";
