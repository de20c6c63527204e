// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The methods that a host has.

use std::fmt;
use std::sync::Arc;

use super::contract::MultifdMethods;
use super::error::MethodError;
use super::options::MethodOptions;
use crate::wire::MethodId;

/// Opens a method once the parameters of a migration are known.
pub trait MethodFactory: Send + Sync {
    /// The number in each packet's flags.
    fn id(&self) -> MethodId;

    /// The name that `multifd-compression` has for it.
    fn name(&self) -> &'static str;

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
        let (name, id) = (factory.name(), factory.id());
        if self
            .factories
            .iter()
            .any(|known| known.name() == name || known.id() == id)
        {
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
        let factory = self.factories.iter().find(|factory| factory.name() == name);
        let factory = factory.ok_or_else(|| RegistryError::Unknown {
            name: name.to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })?;
        Ok(factory.open(options)?)
    }

    /// The names of all methods, in the order of their registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.factories.iter().map(|factory| factory.name())
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
    /// The method itself said no.
    #[error(transparent)]
    Open(#[from] MethodError),
}
