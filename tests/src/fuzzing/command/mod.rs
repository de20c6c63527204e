// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the command reads: folders, recordings, addresses.

mod address;
mod give_back;
mod inspect;
mod kept;
mod recording;
mod saved;

pub(super) use address::ADDRESS;
pub(super) use kept::KEPT;
pub(super) use recording::RECORDING;
pub(super) use saved::SAVED;
