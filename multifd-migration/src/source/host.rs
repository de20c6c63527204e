// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a source wants of the hypervisor.

use super::SourceEvent;
use crate::dirty::{DirtyLog, NoWrites};
use crate::stream::DeviceSection;
use crate::{HostError, RunState};

/// The hypervisor's side of a migration's source. All of it is called on the thread that runs the
/// migration.
pub trait SourceHost {
    /// What notes the guest's writes.
    fn dirty_log(&mut self) -> &mut dyn DirtyLog;

    /// Whether the guest runs. Asked just before [`Self::pause`]: one that is paused already stays so, here if the
    /// migration fails, and at the destination if it succeeds.
    fn run_state(&mut self) -> RunState {
        RunState::Running
    }

    /// Stops the guest: its vCPUs, and all devices that write to its memory. Returns when nothing
    /// writes any more. Called once, when what is left can be sent within the downtime.
    ///
    /// # Errors
    /// It cannot be stopped: the migration fails, and [`Self::resume`] is called.
    fn pause(&mut self) -> Result<(), HostError>;

    /// Lets the guest run on, after a migration that failed once [`Self::pause`] was called. Not
    /// called if the guest was paused before, nor if the destination may have it: see
    /// [`GuestAfter::InDoubt`](super::GuestAfter::InDoubt).
    fn resume(&mut self);

    /// The state of each device, in the order in which the destination loads it. Called once, with
    /// the guest paused and before the last memory is sent: what is written to memory meanwhile, and noted in the
    /// [log](Self::dirty_log), arrives as well. Afterwards nothing may write to it any more:
    /// [`SourceConfig::check_pause`](super::SourceConfig::check_pause) finds out whether something does.
    ///
    /// # Errors
    /// The migration fails, and [`Self::resume`] is called.
    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError>;

    /// Takes this share of the vCPUs' time away, in percent, so that the guest writes less:
    /// `auto-converge`. 0 at the end. Called only if [`SourceConfig::auto_converge`] is set.
    ///
    /// [`SourceConfig::auto_converge`]: super::SourceConfig::auto_converge
    fn throttle(&mut self, percent: u8) {
        let _ = percent;
    }

    /// Something has happened. Must not block.
    fn event(&mut self, event: &SourceEvent) {
        let _ = event;
    }
}

/// A guest that stands still for the whole of the migration.
#[derive(Debug)]
pub(super) struct Stopped {
    devices: Vec<DeviceSection>,
    log: NoWrites,
}

impl Stopped {
    pub(super) fn new(devices: Vec<DeviceSection>) -> Self {
        Self {
            devices,
            log: NoWrites,
        }
    }
}

impl SourceHost for Stopped {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        &mut self.log
    }

    fn pause(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn resume(&mut self) {}

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        Ok(std::mem::take(&mut self.devices))
    }
}
