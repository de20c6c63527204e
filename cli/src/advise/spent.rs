// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What compressing and decompressing took.

use std::time::Duration;

use multifd_core::MultifdMethods;

use super::cost::{Codec, Sides};

/// What the packets of some channels took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) pages: usize,
    pub(super) payload: usize,
    pub(super) send: Time,
    pub(super) recv: Time,
}

impl Spent {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            pages: self.pages + other.pages,
            payload: self.payload + other.payload,
            send: self.send.plus(other.send),
            recv: self.recv.plus(other.recv),
        }
    }

    /// What a page costs, as `channels` at the same time have shown.
    pub(super) fn codec(
        &self,
        method: &dyn MultifdMethods,
        level: Option<u8>,
        channels: usize,
    ) -> Codec {
        let pages = self.pages.max(1) as f64;
        let per_page = |time: Duration| time.as_secs_f64() / pages;
        let cpu = Sides {
            send: per_page(self.send.cpu),
            recv: per_page(self.recv.cpu),
        };
        let implementation = method.implementation();
        // Software waits for nothing; if it did here, others had the cores.
        let is_hardware = implementation.is_hardware();
        let elapsed = Sides {
            send: per_page(self.send.elapsed),
            recv: per_page(self.recv.elapsed),
        };
        Codec {
            method: method.name().into(),
            level,
            implementation: implementation.to_string(),
            is_hardware,
            payload: self.payload as f64 / pages,
            cpu,
            elapsed: if is_hardware { elapsed } else { cpu },
            channels,
        }
    }
}

/// What something took: of a core, and in all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Time {
    pub(super) cpu: Duration,
    pub(super) elapsed: Duration,
}

impl Time {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            elapsed: self.elapsed + other.elapsed,
        }
    }
}
