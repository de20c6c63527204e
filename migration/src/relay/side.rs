//! On which side of a relay something went wrong.

use multifd_core::{Error, Fault, Place, Side};

/// An error on the source's side.
pub(super) fn from_source(error: Error) -> Error {
    error.at(Place::on(Side::RelayIn))
}

/// An error on the destination's side.
pub(super) fn to_destination(error: Error) -> Error {
    error.at(Place::on(Side::RelayOut))
}

/// Whether the connections to the destination broke: it may have a reason to tell.
pub(super) fn is_destination_gone(error: &Error) -> bool {
    error.fault() == Fault::Connection && error.place().side == Some(Side::RelayOut)
}
