// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What both sides of this method call it.

use multifd_core::MethodIdentity;

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = MethodIdentity::ZSTD.name();
