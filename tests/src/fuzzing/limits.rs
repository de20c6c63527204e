// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long a side waits for a peer that has said everything.

use std::time::Duration;

use multifd_migration::Limits;

/// The limits of a side whose connections are, or are not, what it waits for.
///
/// If they are, nothing is waited for but this side's own threads, and those have all the time they need. If they
/// are not, something that is missing is waited for in vain.
pub(super) fn limits(is_complete: bool) -> Limits {
    let mut limits = Limits::all(if is_complete { AMPLE } else { MOMENT });
    limits.last_word = MOMENT;
    // What is behind the devices has been said, too.
    limits.devices = MOMENT;
    limits
}

const AMPLE: Duration = Duration::from_secs(30);
/// A wait that is known to be in vain.
pub(super) const MOMENT: Duration = Duration::from_millis(1);
