// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The compression methods that this command has.

use std::sync::Arc;

use migration_params::{Compression, Host, Settings, Transport};
use multifd_core::method::{Implementation, RegistryError};
use multifd_core::{MultifdMethods, Registry};
use multifd_migration::method_options;

use crate::args::MigrationArgs;
use crate::show::output;

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

/// The method of a source, if its settings are right.
pub(crate) fn outgoing(
    settings: &Settings,
    args: &MigrationArgs,
) -> anyhow::Result<Arc<dyn MultifdMethods>> {
    let registry = registry()?;
    settings.check_migrate(TRANSPORT, &host(&registry))?;
    open(&registry, settings, args)
}

/// The method of a destination, if its settings are right.
pub(crate) fn incoming(
    settings: &Settings,
    args: &MigrationArgs,
) -> anyhow::Result<Arc<dyn MultifdMethods>> {
    let registry = registry()?;
    settings.check_incoming(TRANSPORT, &host(&registry))?;
    open(&registry, settings, args)
}

/// The method that the parameters choose; says which implementation does the work.
fn open(
    registry: &Registry,
    settings: &Settings,
    args: &MigrationArgs,
) -> anyhow::Result<Arc<dyn MultifdMethods>> {
    let parameters = &settings.parameters;
    let options = args.accelerator.options(method_options(parameters));
    let method = registry.open(parameters.multifd_compression.name(), &options)?;
    tell(&*method, args.quiet);
    Ok(method)
}

/// Says which implementation does the work, where a method has more than one.
pub(crate) fn tell(method: &dyn MultifdMethods, quiet: bool) {
    let implementation = method.implementation();
    if !quiet && implementation != Implementation::software() {
        output::message(format_args!("{}: {implementation}", method.name()));
    }
}

/// What sockets and this command can do, for the checks of the settings.
pub(crate) fn host(registry: &Registry) -> Host {
    Host {
        compression: compressions(registry),
        direct_io: true,
        zero_copy: false,
        userfaultfd: false,
        dirty_ring: false,
    }
}

/// The methods as `multifd-compression` knows them.
fn compressions(registry: &Registry) -> Vec<Compression> {
    registry
        .names()
        .filter_map(|name| name.parse().ok())
        .collect()
}

/// All migrations of this command go over sockets.
pub(crate) const TRANSPORT: Transport = Transport::Socket;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rules_forbid_is_refused() {
        let mut settings = Settings::default();
        settings.set_all(["multifd=on", "postcopy-ram=on"]).unwrap();
        let host = host(&registry().unwrap());
        assert!(settings.check_incoming(TRANSPORT, &host).is_err());
    }
}
