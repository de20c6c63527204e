// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pages of files that the system cannot provide.

use std::path::PathBuf;

use multifd_core::memory::PageFault;

use crate::show::failure::migration_error;

/// Names the file, if the error is of a page of a block that is one.
pub(crate) fn in_file(
    error: anyhow::Error,
    file_of: impl Fn(&str) -> Option<PathBuf>,
) -> anyhow::Error {
    let place = error.chain().find_map(|cause| {
        let error = migration_error(cause)?;
        let place = error.cause().is::<PageFault>().then(|| error.place())?;
        let file = file_of(place.block.as_deref()?)?;
        Some((file, place.offset))
    });
    let Some((file, offset)) = place else {
        return error;
    };
    let file = file.display();
    match offset {
        Some(offset) => error.context(format!("{file} at offset {offset:#x}")),
        None => error.context(file.to_string()),
    }
}
