// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The unit of all that KVM logs.

use std::io;

/// Bytes of a page of this host.
pub(crate) fn page_size() -> io::Result<u64> {
    // SAFETY: no precondition; it reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).map_err(|_| io::Error::last_os_error())
}
