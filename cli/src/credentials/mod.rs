// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Certificates that this command makes by itself.
//!
//! Knows nothing of connections, and writes no files.

pub(crate) mod authority;
pub(crate) mod host_names;
