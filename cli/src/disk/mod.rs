//! Memory and devices in files: what a destination leaves behind and what a source starts from.
//!
//! May import `args` and `show`; knows nothing of connections.

pub(crate) mod files;
pub(crate) mod ram;
pub(crate) mod saved;
pub(crate) mod sparse;
pub(crate) mod store;
