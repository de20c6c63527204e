//! Peers made by hand, byte for byte: what no real one says can be said as well.

pub mod main_stream;
pub mod packet;
mod source;

pub use packet::{PAGE, Packet};
pub use source::Source;
