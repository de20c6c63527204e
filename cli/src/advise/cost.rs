// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the parts of a migration cost.

use serde::{Deserialize, Serialize};

/// Something of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) send: f64,
    pub(crate) recv: f64,
}

impl Sides {
    pub(crate) fn each(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            send: change(self.send),
            recv: change(self.recv),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            send: self.send + other.send,
            recv: self.recv + other.recv,
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(other.each(|value| -value))
    }

    pub(crate) fn sum(self) -> f64 {
        self.send + self.recv
    }
}

/// What all methods have in common, in seconds of a core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Engine {
    /// Per byte on the wire: the system calls and the kernel's copies.
    pub(crate) wire_byte: Sides,
    /// Per page that is not zero, without its bytes on the wire and without the method.
    pub(crate) data_page: Sides,
    pub(crate) zero_page: Sides,
    /// Seconds before the first page.
    pub(crate) setup: f64,
    /// Seconds from the stop of the guest to its start, if no page is left.
    pub(crate) switchover: f64,
}

/// A method at a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Codec {
    pub(crate) method: String,
    /// `None` if it has no levels.
    pub(crate) level: Option<u8>,
    /// What did the work: `software`, or what the method says of itself.
    pub(crate) implementation: String,
    /// Whether that was a device.
    #[serde(default)]
    pub(crate) is_hardware: bool,
    /// Bytes of payload per page that is not zero.
    pub(crate) payload: f64,
    /// Seconds of a core per page.
    pub(crate) cpu: Sides,
    /// Seconds that a channel is busy per page. More than `cpu` where it waits for a device.
    pub(crate) elapsed: Sides,
    /// The number of channels at which that was so: a device does no more with more of them.
    pub(crate) channels: usize,
}

/// Bytes of a page.
pub(crate) const PAGE: f64 = 4096.0;
