// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that fail: the guest runs on, nothing is left of it elsewhere, and the next attempt succeeds.

mod bench;
mod meddler;
mod moments;
mod receiving;
mod sending;

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    [receiving::cases(), moments::cases(), sending::cases()]
        .into_iter()
        .flatten()
        .collect()
}
