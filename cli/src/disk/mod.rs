// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory and devices in files: what a destination leaves behind and what a source starts from.
//!
//! May import `args` and `show`; knows nothing of connections.

mod checksum;
mod create;
mod distinct;
pub(crate) mod fault;
pub(crate) mod files;
mod holes;
mod left_behind;
mod lock;
mod naming;
mod pending;
pub(crate) mod ram;
pub(crate) mod saved;
pub(crate) mod sparse;
pub(crate) mod store;
mod sync;
pub(crate) mod unreleased;
mod writeback;
mod zeros;
