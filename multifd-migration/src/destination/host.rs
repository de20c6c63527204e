// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination wants of the hypervisor.

use multifd_core::GuestMemory;

use crate::stream::{AnnouncedBlock, Configuration, EarlyPart, SyncMode, Tail};
use crate::{HostError, RunState, Work};

/// What a destination wants of the host.
pub trait DestinationHost {
    /// Learns the id of RAM's sections: whoever sends this guest again with the sections that stand around RAM's
    /// must give them none of theirs. Called once, before [`Self::memory`].
    fn ram_section_id(&mut self, id: u32) {
        let _ = id;
    }

    /// Provides the guest's memory once the source has said what it sends. Called once, before any
    /// page.
    ///
    /// The memory must have all of these blocks, with these lengths.
    ///
    /// The source waits meanwhile: one of this crate with a return path for as long as
    /// [`Limits::memory`](crate::Limits::memory), others until their limit on a destination that takes nothing.
    /// Nothing here ends a call that takes long, an abort neither.
    ///
    /// # Errors
    /// The host cannot take this guest; the source is told, and its guest runs on.
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError>;

    /// Learns how the source marks the points where the channels meet: whoever sends this guest to the
    /// same machine again must do it so, too. Called once, after [`Self::memory`].
    fn sync_mode(&mut self, mode: SyncMode) {
        let _ = mode;
    }

    /// What takes the time of [`Self::complete`]. A source of this crate is told so again and again while that
    /// has not returned, and waits for it for [`Limits::work`](crate::Limits::work).
    fn work(&self) -> Work {
        Work::LoadingDevices
    }

    /// Takes a piece of a section that is not RAM's and comes before its end: of virtio-mem, for instance, of a dirty bitmap,
    /// or of a VFIO device. Called for each piece, in the order in which they come, before [`Self::complete`], and for some
    /// sections before [`Self::memory`]. Nothing limits how much a source sends. Sections that continue these may be at the
    /// front of the [tail](Tail), too.
    ///
    /// # Errors
    /// The host does not take such a section, as this default; the source is told, and its guest runs on.
    fn early_section(&mut self, part: EarlyPart<'_>) -> Result<(), HostError> {
        let EarlyPart::Start { head, .. } = part else {
            return Ok(());
        };
        let idstr = &head.idstr;
        Err(format!(
            "state of {idstr:?} before the end of RAM is not taken here: migrate without this device, or without the \
             capability that sends it"
        )
        .into())
    }

    /// Takes the state of the devices. Called once, when all memory is there. After an answer of
    /// `Ok` the source is told that the guest is here: from then on it must be able to run.
    ///
    /// # Errors
    /// The state cannot be loaded; the source is told, and its guest runs on.
    fn complete(&mut self, devices: &Tail) -> Result<(), HostError>;

    /// Starts the guest, or leaves it paused if it was paused when it left. Called once, behind [`Self::complete`], when
    /// the source has given the guest up for ever, and before it hears that the guest runs: so what this takes is
    /// downtime, at the source as well, which waits for [`Limits::confirm`](crate::Limits::confirm). A source that does not
    /// hand over, such as a QEMU, takes the guest for gone when [`Self::complete`] has returned, and waits for nothing.
    ///
    /// What the default leaves to do, the host does when [`Destination::run`](super::Destination::run) has returned.
    ///
    /// # Errors
    /// The guest does not run here, nor will it before whoever manages both hosts says so. The migration has failed, and
    /// [all of it is kept](super::GuestHere::WholeButNotStarted); the source is told, and its guest stays paused, as
    /// nobody there knows how far the start has come. What can be found out before is a matter for
    /// [`Self::complete`]: if that fails the guest runs on at the source.
    fn start(&mut self, run_state: RunState) -> Result<(), HostError> {
        let _ = run_state;
        Ok(())
    }
}
