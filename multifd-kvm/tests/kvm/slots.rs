// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory slots that go while their writes are logged.

use anyhow::{Context, Result, ensure};
use multifd_core::memory::{Mapping, RamRegion as _};
use multifd_kvm::{KvmDirtyLog, KvmDirtyRing, SlotHandle};
use multifd_migration::{DirtyBitmap, DirtyLog};

use super::guest::{BLOCKS, Guest, PAGE, set_slot};
use super::kvm;

#[test]
fn a_bitmap_log_that_stops_makes_no_slot_anew() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyLog::new(&guest.vm, &guest.memory, guest.slots())?;
    let handle = log.slot_handle();
    is_left_alone(&guest, &mut log, &handle)
}

#[test]
fn a_ring_that_stops_makes_no_slot_anew() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyRing::enable(&guest.vm, &guest.memory, guest.slots(), 1024)?;
    let handle = log.slot_handle();
    is_left_alone(&guest, &mut log, &handle)
}

/// Slot 3, which shows the first pages of the second block, goes between start and stop.
fn is_left_alone(guest: &Guest, log: &mut dyn DirtyLog, handle: &SlotHandle) -> Result<()> {
    const SLOT: u32 = 3;
    let address = BLOCKS[0] * PAGE;
    log.start().map_err(anyhow::Error::from_boxed)?;
    handle.forget(SLOT);
    set_slot(&guest.vm, SLOT, address, 0, 0)?;
    let (block, _) = guest.memory.indexed().nth(1).context("a block")?;
    let mut dirty = DirtyBitmap::clean(BLOCKS[1]);
    let error = log.harvest(block, &mut dirty).err();
    let error = error.context("nobody knows what was written")?;
    ensure!(error.to_string().contains("slot 0x3"), "{error}");
    log.stop();
    // KVM refuses a slot where another one is.
    let other = Mapping::anonymous(usize::try_from(PAGE)?)?;
    set_slot(&guest.vm, 50, address, other.base().as_ptr() as u64, PAGE)
        .context("the slot that was deleted is there again")?;
    set_slot(&guest.vm, 50, address, 0, 0)
}
