//! The compression methods that this command has.

use migration_params::Compression;
use multifd_core::Registry;
use multifd_core::method::RegistryError;

/// All methods, in the order in which they are measured.
pub(crate) fn registry() -> Result<Registry, RegistryError> {
    let mut registry = Registry::new();
    registry.register(multifd_none::NoneFactory)?;
    registry.register(multifd_zlib::ZlibFactory)?;
    registry.register(multifd_zstd::ZstdFactory)?;
    registry.register(multifd_qatzip::QatzipFactory)?;
    Ok(registry)
}

/// The same methods as `multifd-compression` knows them.
pub(crate) fn compressions(registry: &Registry) -> Vec<Compression> {
    registry
        .names()
        .filter_map(|name| name.parse().ok())
        .collect()
}
