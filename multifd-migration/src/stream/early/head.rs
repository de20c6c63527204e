// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which section it is.

use super::super::section::SectionType;

/// Which section it is, and of which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionHead {
    /// Which of the sections of its device.
    pub kind: SectionKind,
    /// The section's id, a number that the source has chosen. Those that continue another have its id.
    pub id: u32,
    /// The device, for instance `0000:00:01.0/virtio-mem-device-early`.
    pub idstr: String,
    /// Which one of the devices of this name.
    pub instance: u32,
    /// The version of the state's layout.
    pub version: u32,
}

/// Which of the sections of a device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// The first of several.
    Start,
    /// One that continues it.
    Part,
    /// The last of several.
    End,
    /// All of the device's state.
    Full,
}

/// Most bytes through which the end of a section is looked for whose layout is not known.
pub const MAX_UNKNOWN_LEN: u64 = 64 << 20;
/// Most devices that may send sections in several parts, or before the end of RAM.
pub const MAX_EARLY_DEVICES: usize = 64 * 1024;

impl SectionKind {
    pub(in super::super) fn section_type(self) -> SectionType {
        match self {
            Self::Start => SectionType::START,
            Self::Part => SectionType::PART,
            Self::End => SectionType::END,
            Self::Full => SectionType::FULL,
        }
    }
}
