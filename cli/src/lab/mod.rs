// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that are measured: `demo`, `bench`, and the pairs of processes that they start.
//!
//! May import `ends` and what is below it; `advise` measures with it.

pub(crate) mod bench;
mod credentials;
pub(crate) mod demo;
pub(crate) mod fill;
pub(crate) mod guest;
pub(crate) mod laboratory;
pub(crate) mod measurement;
pub(crate) mod pair;
pub(crate) mod vm;
