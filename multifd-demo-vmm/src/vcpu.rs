// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the two kinds of vCPU have in common.

use crate::Error;
use crate::devices::Ports;

/// A vCPU, used by one thread at a time.
pub(crate) trait Vcpu: Send {
    /// Runs the guest for a while: until it uses a port, or a signal comes to this thread.
    ///
    /// # Errors
    /// It cannot run on.
    fn run(&mut self, ports: &Ports) -> Result<Exit, Error>;

    /// Ends what the last run has begun, so that the state is one between two instructions.
    ///
    /// # Errors
    /// As [`Self::run`].
    fn settle(&mut self) -> Result<(), Error>;

    /// All that the guest's program can see of it.
    ///
    /// # Errors
    /// KVM's.
    fn save(&self) -> Result<Vec<u8>, Error>;

    /// Makes it the vCPU that was saved. It has not run before.
    ///
    /// # Errors
    /// State that is not one of this kind of vCPU, or KVM's.
    fn load(&mut self, state: &[u8]) -> Result<(), Error>;
}

/// Why a vCPU came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It can run on.
    Again,
    /// It has nothing to do now.
    Idle,
    /// The guest has stopped for good.
    Halted,
}
