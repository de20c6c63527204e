// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that runs migrates, or goes on here: never both, never neither.

mod converge;
mod failure;
mod last_word;
mod late_devices;
mod log_order;
mod promise;
mod silence;
mod start;
mod strangers;
mod threads;
mod working;
mod wrong_source;

use std::sync::Arc;

use anyhow::Result;
use migration_params::Parameters;
use multifd_core::MultifdMethods;
use multifd_tests::host;

/// A method with its default level.
fn method(name: &str) -> Result<Arc<dyn MultifdMethods>> {
    host::open(&Parameters {
        multifd_compression: name.parse()?,
        ..Parameters::default()
    })
}
