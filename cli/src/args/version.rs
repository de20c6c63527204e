// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which program this is, and what it can do.

/// The version, and the commit if the build script knew it, in one line.
pub(super) const SHORT: &str = concat!(env!("CARGO_PKG_VERSION"), env!("MULTIFD_COMMIT"));

/// The same, and what is built in.
pub(super) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    env!("MULTIFD_COMMIT"),
    "\nmethods: none, zlib, zstd, qatzip, qpl, uadk",
    "\nTLS: 1.3",
);
