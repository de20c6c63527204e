// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections before the end of RAM that are not RAM's.
//!
//! Some devices send their state, or a part of it, while memory comes: virtio-mem before its memory, VFIO devices
//! and dirty bitmaps round by round beside it. Nothing on the wire says how long such a section is. Of those
//! that QEMU has the [layout](format) is known. Of any other, and of one that is not laid out so, the end is
//! where its footer stands, if behind that a section or command [can begin](begin); this is logged, for data may look
//! like it.

mod begin;
mod body;
mod format;
mod head;
mod open;
mod part;

pub use head::{MAX_EARLY_DEVICES, MAX_UNKNOWN_LEN, SectionHead, SectionKind};
pub use part::{EarlyPart, EarlyPlace, EarlySection};

pub(super) use body::{Body, Piece};
pub(super) use open::{OpenSections, begins_twice};
