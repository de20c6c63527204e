// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Holes of files that are mapped, which are not read.

use std::fs::File;
use std::os::fd::AsFd as _;

use multifd_core::memory::Mapping;

/// Has a mapping of a file find out where the file has holes, if its file system tells. Otherwise all of it is read.
pub(crate) fn learn(mapping: &mut Mapping, file: &File) {
    if let Err(error) = mapping.learn_untouched(Some(file.as_fd())) {
        log::debug!("holes of a file will be read: {error}");
    }
}
