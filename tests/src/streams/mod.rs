// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests as the bytes of a source's connections, made by [hand](crate::by_hand) and read without the code that is tested.
//!
//! A test gives the command a [`Stream`], and compares what a destination gets of it later with
//! [`Parts`] and [`memory`].

mod any_guest;
mod early;
mod packets;
mod parts;
mod plan;
mod random;
mod sides;

pub use packets::{channel, memory};
pub use parts::Parts;
pub use plan::{Block, Early, Stream, devices, full};
pub use random::Random;
pub use sides::{Connections, Destination, play};
