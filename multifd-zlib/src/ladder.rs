// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the sender may choose from for each packet.

use multifd_core::method::Rung;

/// The rungs, from pages as they are; costs are nanoseconds per byte of a processor of 2020, on memory that holds
/// programs, libraries and text.
pub(crate) const LADDER: &[Rung] = &[
    Rung::raw(0.25),
    Rung::new("1", 1, 4.2, 0.713),
    Rung::new("3", 3, 12.0, 0.737),
    Rung::new("6", 6, 22.0, 0.753),
    Rung::new("9", 9, 60.0, 0.757),
];
