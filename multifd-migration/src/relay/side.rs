// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! On which side of a relay something went wrong.

use multifd_core::{Error, Fault, Place, Side};

/// An error on the source's side.
pub(super) fn from_source(error: Error) -> Error {
    error.at(Place::on(Side::RelayIn))
}

/// The error of a source that has closed the main connection though it waits for the destination's word.
pub(super) fn source_is_gone() -> Error {
    let what = "the source ended or cancelled before the destination confirmed";
    from_source(Error::new(Fault::Connection, what))
}

/// An error on the destination's side.
pub(super) fn to_destination(error: Error) -> Error {
    error.at(Place::on(Side::RelayOut))
}

/// Whether the connections to the destination broke: it may have a reason to tell.
pub(super) fn is_destination_gone(error: &Error) -> bool {
    error.fault() == Fault::Connection && error.place().side == Some(Side::RelayOut)
}
