// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether the memory of a paused guest stands still.

use multifd_core::{Error, Fault, Place, Side};

use super::dirty_memory::DirtyMemory;
use super::{Source, SourceHost};

impl Source {
    /// Fails if the log has a page that was not in the last fetch, whose pages were `sent`. A log that protects late reports those
    /// once more, so a second write to one of them is not seen.
    pub(super) fn check_still(
        &self,
        host: &mut dyn SourceHost,
        dirty: &mut DirtyMemory,
        sent: &DirtyMemory,
    ) -> Result<(), Error> {
        let memory = self.sender.memory();
        dirty.harvest(memory, host)?;
        let Some((index, page)) = dirty.first_beside(memory, sent) else {
            return Ok(());
        };
        let what = "the guest's memory was written to after the guest was paused and its devices were saved: \
                    something that writes to it was not stopped";
        let mut place = Place::on(Side::Source);
        if let Some(block) = memory.block(index) {
            place = place.block(block.name().as_str());
        }
        let offset = page * memory.page_size().bytes_u64();
        Err(Error::new(Fault::Caller, what).at(place.offset(offset)))
    }
}
