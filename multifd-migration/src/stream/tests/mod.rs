// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main channel against recordings of real QEMUs, and against itself.

mod early;
mod hostile;
mod machines;
mod properties;
mod recorded;
mod recorded_early;
mod refusals;
mod return_path;
mod tail;
mod wire;
