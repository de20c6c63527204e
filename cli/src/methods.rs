//! The compression methods that this command has.

use std::sync::Arc;

use migration::method_options;
use migration_params::{Compression, Parameters};
use multifd_core::method::{Path, RegistryError};
use multifd_core::{MultifdMethods, Registry};

use crate::args::MigrationArgs;
use crate::output;

/// All methods, in the order in which they are measured.
pub(crate) fn registry() -> Result<Registry, RegistryError> {
    let mut registry = Registry::new();
    registry.register(multifd_none::NoneFactory)?;
    registry.register(multifd_zlib::ZlibFactory)?;
    registry.register(multifd_zstd::ZstdFactory)?;
    registry.register(multifd_qatzip::QatzipFactory)?;
    registry.register(multifd_qpl::QplFactory)?;
    registry.register(multifd_uadk::UadkFactory::default())?;
    Ok(registry)
}

/// The method that the parameters choose; says which implementation does the work.
pub(crate) fn open(
    registry: &Registry,
    parameters: &Parameters,
    args: &MigrationArgs,
) -> Result<Arc<dyn MultifdMethods>, RegistryError> {
    let options = args.accelerator.options(method_options(parameters));
    let method = registry.open(parameters.multifd_compression.name(), &options)?;
    tell(&*method, args.quiet);
    Ok(method)
}

/// Says which implementation does the work, where a method has more than one.
pub(crate) fn tell(method: &dyn MultifdMethods, quiet: bool) {
    let implementation = method.implementation();
    if !quiet && implementation != Path::Software.name() {
        output::message(format_args!("{}: {implementation}", method.name()));
    }
}

/// The same methods as `multifd-compression` knows them.
pub(crate) fn compressions(registry: &Registry) -> Vec<Compression> {
    registry
        .names()
        .filter_map(|name| name.parse().ok())
        .collect()
}
