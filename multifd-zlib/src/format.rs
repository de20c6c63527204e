// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What this method's streams have besides what `multifd-deflate` makes.

use multifd_core::MethodIdentity;

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = MethodIdentity::ZLIB.name();

/// A stored block without content, which is how a sync flush ends (RFC 1951, 3.2.4).
pub(crate) const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];
