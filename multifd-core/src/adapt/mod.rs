// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which rung of its ladder a method is asked for, packet by packet: as fast as the link or the processors allow.
//!
//! [`controller`] is a model. It knows no clock and no thread: it is told what each packet has taken, and answers which
//! rung the next one is to be made on. Nobody tells it the link's rate, nor how compressible memory is.
//!
//! A byte of guest memory takes three things at the same time: so much of the link as it has bytes there, so much of the
//! processors as its rung costs, and so much of the receiver. The dearest of the three says how long it takes, and a mix
//! of two rungs can make two of them equal: [`mix`] finds the best one. [`estimate`] knows what each rung costs and
//! saves, also of those that have not been tried lately; [`limits`] makes out what link and receiver take.

mod config;
mod controller;
mod estimate;
mod limits;
mod mix;
#[cfg(test)]
mod simulation;
mod steering;
mod window;

pub use config::AdaptConfig;
pub(crate) use steering::{Clocks, Pilot, Steering};
