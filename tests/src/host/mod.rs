// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A small hypervisor without vCPUs: memory in files, sockets, and all methods.
//!
//! It is what the tests and the comparison with QEMU embed the engine in.

mod in_process;
mod memory;
mod methods;
mod sockets;

pub use in_process::migrate;
pub use memory::{FileHost, Start, file_memory};
pub use methods::{open, registry};
pub use sockets::{accept_all, accept_all_as, accept_all_tcp, connect, connect_tcp};
