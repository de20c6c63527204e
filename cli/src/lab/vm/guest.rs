// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What both hypervisors do with their guest.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use multifd_demo_vmm::GuestReport;

use crate::show::report::GuestSummary;

/// Opens a guest's memory; answers also its length in bytes.
pub(super) fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let open = || {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        std::io::Result::Ok((file, len))
    };
    open().with_context(|| format!("guest memory {}", path.display()))
}

pub(super) fn summary(guest: GuestReport, written_before: u64) -> GuestSummary {
    GuestSummary {
        written_before,
        written: guest.written,
        checked: guest.checked,
        failures: guest.failures,
    }
}

/// How often to look at a guest.
pub(super) const LOOK: Duration = Duration::from_millis(1);
/// A guest that has done nothing for so long never will.
pub(super) const STANDSTILL: Duration = Duration::from_secs(30);
