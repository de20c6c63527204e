// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations of memory that stands still, to be measured: between two processes of ours, or two QEMUs.
//!
//! The processes of ours are the measuring program again, in another [`Role`], which it asks for first.

#![expect(
    clippy::print_stdout,
    reason = "the processes of ours print what they took"
)]

mod bare;
mod case;
mod hosts;
mod ours;
mod role;
mod theirs;

pub use case::{Case, HOST, Run, Sample, median, micros, own_cpu_time};
pub use hosts::Hosts;
pub use ours::run as between_ours;
pub use role::Role;
pub use theirs::run as between_qemus;
