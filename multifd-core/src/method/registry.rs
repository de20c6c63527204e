// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The methods that a host has.

use std::fmt;
use std::sync::Arc;

use super::contract::MultifdMethods;
use super::error::MethodError;
use super::options::MethodOptions;
use crate::wire::{MethodId, MethodIdentity};

/// Opens a method once the parameters of a migration are known.
pub trait MethodFactory: Send + Sync {
    /// The number and the name of the method.
    fn identity(&self) -> MethodIdentity;

    /// Opens the method for one migration.
    ///
    /// Called on the host's own thread, before any channel exists: the place to load libraries and
    /// to probe devices.
    ///
    /// # Errors
    /// An option that the method does not take, or a device that was asked for and is not there.
    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError>;
}

/// The methods that a host has: filled at start-up, then asked by name. A plain value; nothing is
/// registered behind the host's back.
#[derive(Default)]
pub struct Registry {
    factories: Vec<Box<dyn MethodFactory>>,
}

impl Registry {
    /// A registry without methods.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a method.
    ///
    /// # Errors
    /// Its name or its number is taken.
    pub fn register(&mut self, factory: impl MethodFactory + 'static) -> Result<(), RegistryError> {
        let (name, id) = (factory.identity().name(), factory.identity().id());
        let mut known = self.factories.iter().map(|factory| factory.identity());
        if known.any(|known| known.name() == name || known.id() == id) {
            return Err(RegistryError::Taken { name, id });
        }
        self.factories.push(Box::new(factory));
        Ok(())
    }

    /// Opens the method that `multifd-compression` names.
    ///
    /// # Errors
    /// There is no such method here, or it cannot be opened.
    pub fn open(
        &self,
        name: &str,
        options: &MethodOptions,
    ) -> Result<Arc<dyn MultifdMethods>, RegistryError> {
        let mut factories = self.factories.iter();
        let factory = factories.find(|factory| factory.identity().name() == name);
        let factory = factory.ok_or_else(|| RegistryError::Unknown {
            name: name.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })?;
        let method = factory.open(options)?;
        let (wanted, got) = (factory.identity(), method.identity());
        if got != wanted {
            return Err(RegistryError::Another { wanted, got });
        }
        Ok(method)
    }

    /// The names of all methods, in the order of their registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.factories
            .iter()
            .map(|factory| factory.identity().name())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Why a method could not be registered or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two methods of one name or number.
    #[error("a method with the name {name} or the number {} is registered already", id.number())]
    Taken {
        /// The name of the second one.
        name: &'static str,
        /// Its number.
        id: MethodId,
    },
    /// No method of that name.
    #[error("multifd-compression is {name:?}, but this host has only: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Its factory opens another one.
    #[error("the factory of the method {} has opened {}", wanted.name(), got.name())]
    Another {
        /// What the factory says that it is for.
        wanted: MethodIdentity,
        /// What it has opened.
        got: MethodIdentity,
    },
    /// The method itself said no.
    #[error(transparent)]
    Open(#[from] MethodError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{ChannelSetup, RecvMethod, SendMethod};

    /// A factory of the first, which opens the second.
    struct Factory(MethodIdentity, MethodIdentity);

    struct Opened(MethodIdentity);

    impl MethodFactory for Factory {
        fn identity(&self) -> MethodIdentity {
            self.0
        }

        fn open(&self, _: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
            Ok(Arc::new(Opened(self.1)))
        }
    }

    impl MultifdMethods for Opened {
        fn identity(&self) -> MethodIdentity {
            self.0
        }

        fn send_setup(&self, _: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
            Err(MethodError::config(self.0.name(), "no channels"))
        }

        fn recv_setup(&self, _: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
            Err(MethodError::config(self.0.name(), "no channels"))
        }
    }

    #[test]
    fn a_name_and_a_number_are_one_methods() {
        let mut registry = Registry::new();
        let zlib = MethodIdentity::ZLIB;
        registry.register(Factory(zlib, zlib)).unwrap();
        for taken in [
            MethodIdentity::new(MethodId::QPL, "zlib"),
            MethodIdentity::new(MethodId::ZLIB, "other"),
        ] {
            let error = registry.register(Factory(taken, taken)).unwrap_err();
            assert!(matches!(error, RegistryError::Taken { .. }), "{error}");
        }
        let method = registry.open("zlib", &MethodOptions::new()).unwrap();
        assert_eq!(method.id(), MethodId::ZLIB);
    }

    #[test]
    fn what_is_opened_is_what_was_asked_for() {
        let mut registry = Registry::new();
        let factory = Factory(MethodIdentity::ZSTD, MethodIdentity::ZLIB);
        registry.register(factory).unwrap();
        let error = registry.open("zstd", &MethodOptions::new()).err().unwrap();
        let message = error.to_string();
        assert_eq!(message, "the factory of the method zstd has opened zlib");
    }
}
