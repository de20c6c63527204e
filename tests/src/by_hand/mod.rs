// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Peers made by hand, byte for byte: what no real one says can be said as well.

pub mod main_stream;
pub mod packet;
mod source;

pub use packet::{PAGE, Packet};
pub use source::Source;
