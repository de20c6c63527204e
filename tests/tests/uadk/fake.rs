// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The library that stands in for UADK's, as this method uses it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods};
use multifd_tests::stand_in::StandIn;
use multifd_uadk::UadkFactory;

/// A library of one test.
pub(crate) struct Fake {
    pub(crate) library: StandIn,
}

impl Fake {
    /// One that fails as `faults` say.
    pub(crate) fn new(faults: &[&str]) -> Result<Self> {
        let library = StandIn::uadk(faults)?;
        Ok(Self { library })
    }

    /// The options with which the method finds it.
    pub(crate) fn options(&self, accelerator: Accelerator) -> MethodOptions {
        MethodOptions::new()
            .with(Accelerator::OPTION, accelerator)
            .with(UadkFactory::LIBRARY_OPTION, self.library.folder().display())
    }

    /// A method that finds it, of a factory of its own.
    pub(crate) fn open(&self, accelerator: Accelerator) -> Result<Arc<dyn MultifdMethods>> {
        Ok(UadkFactory::default().open(&self.options(accelerator))?)
    }

    /// What it was asked for.
    pub(crate) fn log(&self) -> Result<Log> {
        Ok(Log(self.library.events()?))
    }
}

/// Its log: a line per event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log(pub(crate) Vec<String>);

impl Log {
    /// How many lines begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.0.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Demands that it is closed, and that nothing is left of what it gave.
    pub(crate) fn ensure_closed(&self) -> Result<()> {
        ensure!(
            self.0.last().is_some_and(|line| line == "uninit"),
            "{self:?}"
        );
        ensure!(self.count("init") == self.count("uninit"), "{self:?}");
        let refused = self.0.iter().filter(|line| line.ends_with(": 0")).count();
        let refused = refused - self.count("init");
        ensure!(
            self.count("alloc") - refused == self.count("free"),
            "{self:?}"
        );
        Ok(())
    }
}
