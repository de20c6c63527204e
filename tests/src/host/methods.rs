// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The methods of the workspace.

use std::sync::Arc;

use anyhow::Result;
use migration_params::Parameters;
use multifd_core::{MultifdMethods, Registry};

/// A registry with every method of the workspace.
///
/// # Errors
/// Two methods of one name or number.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::new();
    registry.register(multifd_none::NoneFactory)?;
    registry.register(multifd_zlib::ZlibFactory)?;
    registry.register(multifd_zstd::ZstdFactory)?;
    registry.register(multifd_qatzip::QatzipFactory)?;
    registry.register(multifd_qpl::QplFactory)?;
    registry.register(multifd_uadk::UadkFactory::default())?;
    Ok(registry)
}

/// Opens the method that the parameters name, with their levels.
///
/// # Errors
/// There is no such method, or it cannot be opened.
pub fn open(parameters: &Parameters) -> Result<Arc<dyn MultifdMethods>> {
    let options = multifd_migration::method_options(parameters);
    Ok(registry()?.open(parameters.multifd_compression.name(), &options)?)
}
