// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Name, number and format.

use multifd_core::MethodId;

/// The value of `multifd-compression`.
pub(super) const NAME: &str = "one-byte";

/// A number that no method of QEMU has.
pub(super) const ID: MethodId = match MethodId::new(30) {
    Some(id) => id,
    None => MethodId::NONE,
};

/// A page follows as it is.
pub(super) const RAW: u8 = 0;
/// One byte follows, which the whole page consists of.
pub(super) const REPEATED: u8 = 1;
