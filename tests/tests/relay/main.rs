// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whole migrations through relays, in one process.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the functions beside the tests are tests too, which clippy.toml cannot tell"
)]

mod asked;
mod bench;
mod broken;
mod ending;
mod rig;
mod silent;
mod whole;
mod withdrawn;
