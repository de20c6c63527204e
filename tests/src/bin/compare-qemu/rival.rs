// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What ours is compared with.

use migration_params::Compression;

/// Who migrates the same.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rival<'a> {
    /// A QEMU with this method.
    Qemu(Compression),
    /// Ours, with this libqpl.
    Libqpl(&'a str),
}
