//! What the command reads: folders, recordings, addresses.

mod address;
mod inspect;
mod recording;
mod saved;

pub(super) use address::ADDRESS;
pub(super) use recording::RECORDING;
pub(super) use saved::SAVED;
