// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a source or a destination does around its migration: settings, methods, connections, signals, progress.
//!
//! May import `args`, `net`, `disk` and `show`; the commands are built on it.

pub(crate) mod interrupt;
pub(crate) mod methods;
pub(crate) mod processors;
pub(crate) mod receiving;
pub(crate) mod reception;
pub(crate) mod sending;
pub(crate) mod settings;
pub(crate) mod supervisor;
