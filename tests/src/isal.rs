// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Deflate with and without ISA-L.

use anyhow::Result;
use multifd_deflate::{Deflate, Isal};

use crate::vendor_library;

/// The file of ISA-L, as the value of [`Isal::OPTION`]. As [`vendor_library::require`].
///
/// # Errors
/// As there.
pub fn library() -> Result<Option<String>> {
    vendor_library::require("isal")
}

/// All that encoders can be made of here, with their names: what is built in, and ISA-L.
///
/// # Errors
/// As [`library`], and a library that cannot be used.
pub fn engines() -> Result<Vec<(String, Deflate)>> {
    let mut engines = vec![Deflate::built_in()];
    if let Some(library) = library()? {
        engines.push(Deflate::open(&Isal::Library(library.into()))?);
    }
    Ok(engines
        .into_iter()
        .map(|engine| (engine.implementation(), engine))
        .collect())
}
