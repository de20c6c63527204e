//! Certificates that this command makes by itself.
//!
//! Knows nothing of connections, and writes no files.

pub(crate) mod authority;
pub(crate) mod host_names;
