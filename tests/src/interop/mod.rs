// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations with real QEMUs through the command `multifd`, as a list of cases.
//!
//! Each [`Case`] is one line of the table in `docs/interop.md`: who the QEMUs are, what the command does
//! between them, with which settings, and what was then verified. `tests/interop.rs` runs all of them as
//! tests; `cargo run -p multifd-tests --bin interop` runs them and prints the table.
//!
//! A new group of cases is a module with a function `cases`, listed in [`cases`].

mod all;
pub mod bitmaps;
mod case;
mod counterparts;
mod failures;
mod lab;
mod memory;
mod processors;
mod relay;
mod relay_kept;
mod row;
mod saved;
pub mod steps;
mod tcp;

pub use all::{cases, run_group, table};
pub use case::{Case, Outcome};
pub use counterparts::{Counterpart, QEMU_TESTS, QemuTest, table_of_tests};
pub use lab::{Lab, require};
pub use row::{Age, Peers, Row};
