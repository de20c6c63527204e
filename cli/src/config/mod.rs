// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The options of `multifd relay` in a file, each under its own long name.
//!
//! What may be in the file is read from the definition of the command line itself, so no option can be forgotten: each
//! becomes an argument, ahead of those that were typed.

mod file;
mod given;
mod in_force;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use given::{Given, Reading, Unusable};
pub(crate) use in_force::InForce;
