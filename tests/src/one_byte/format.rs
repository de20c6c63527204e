// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Name, number and format.

use multifd_core::{MethodId, MethodIdentity};

/// The value of `multifd-compression`, and a number that no method of QEMU has.
pub(super) const METHOD: MethodIdentity = match MethodId::new(30) {
    Some(id) => MethodIdentity::new(id, "one-byte"),
    None => MethodIdentity::NONE,
};

/// What errors call it.
pub(super) const NAME: &str = METHOD.name();

/// A page follows as it is.
pub(super) const RAW: u8 = 0;
/// One byte follows, which the whole page consists of.
pub(super) const REPEATED: u8 = 1;
