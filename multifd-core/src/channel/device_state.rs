// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Device state that comes or goes over a channel.

use std::fmt;
use std::sync::Arc;

/// A piece of device state that came over a multifd channel. QEMU sends VFIO state so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceState {
    /// The device's id string.
    pub idstr: String,
    /// The device's instance.
    pub instance_id: u32,
    /// Opaque bytes.
    pub data: Vec<u8>,
}

impl DeviceState {
    /// Device state to be sent: 1 byte to 64 MiB of it.
    pub fn new(idstr: impl Into<String>, instance_id: u32, data: Vec<u8>) -> Self {
        Self {
            idstr: idstr.into(),
            instance_id,
            data,
        }
    }
}

/// Takes device state as it arrives. Called on the channels' threads, with several at once.
///
/// It returns promptly, for instance by keeping what it is given: a channel whose sink blocks comes to no
/// barrier, and so a sink that waits for the end of the migration waits for itself. Nothing wakes it up: the
/// migration ends without it, at a limit or by an abort, and its thread is left alone after
/// [`Limits::threads`](crate::Limits::threads).
pub type DeviceStateSink = Arc<dyn Fn(DeviceState) -> Result<(), SinkError> + Send + Sync>;

type SinkError = Box<dyn std::error::Error + Send + Sync>;

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of {:?}, instance {}",
            self.data.len(),
            self.idstr,
            self.instance_id
        )
    }
}
