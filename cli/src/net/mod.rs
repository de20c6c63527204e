// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Addresses and the connections made and accepted there.
//!
//! May import `show`; knows nothing of files.

pub(crate) mod allowed;
pub(crate) mod connect;
pub(crate) mod control_socket;
pub(crate) mod descriptors;
pub(crate) mod listen;
pub(crate) mod passed;
pub(crate) mod peer;
pub(crate) mod refused;
pub(crate) mod room;
mod socket;
mod socket_file;
pub(crate) mod tls;
pub(crate) mod uri;
