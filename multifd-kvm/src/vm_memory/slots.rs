// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The memory slots of guest memory of the crate `vm-memory`.

use multifd_core::GuestMemory;
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _, GuestRegionMmap,
};

use crate::MemorySlot;

/// The slots of a VMM that gives each region one, with numbers from `first_slot` on and no flags.
/// `blocks` is what [`guest_memory`](super::guest_memory) made of the same memory.
///
/// # Safety
/// As [`MemorySlot::new`], for each of them.
#[allow(unsafe_code, reason = "the promise is the caller's, and is passed on")]
#[must_use]
pub unsafe fn slots<B: Bitmap>(
    memory: &GuestMemoryMmap<B>,
    blocks: &GuestMemory,
    first_slot: u32,
) -> Vec<MemorySlot> {
    let regions = memory.iter().zip(blocks.indexed()).zip(first_slot..);
    let slot = |((region, (block, _)), number): ((&GuestRegionMmap<B>, (_, _)), _)| {
        let guest_address = region.start_addr().0;
        let host_address = region.as_ptr() as u64;
        // SAFETY: what this function's caller has promised.
        unsafe { MemorySlot::new(number, 0, guest_address, host_address, region.len()) }
            .at(block, 0)
    };
    regions.map(slot).collect()
}
