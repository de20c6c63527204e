// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Dirty pages: which ones the guest has written to since they were sent.

mod bitmap;
mod guest_map;
mod log;
mod vm_log;
mod walk;

pub(crate) use bitmap::words_of;
pub use bitmap::{Chunk, DirtyBitmap, PAGES_PER_CHUNK, PageRun, Runs, WORDS_PER_CHUNK};
pub use guest_map::{GuestMap, NoRam, Placement, PlacementError};
pub use log::{BothLogs, DirtyLog, NoWrites, SoftwareLog};
pub use vm_log::{VmDirtyLog, VmLog, Writes};
pub use walk::Walk;
