// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command `multifd`, as processes.

mod build;
mod process;
mod small_disk;

pub use build::Multifd;
pub use process::{Finished, Running};
pub use small_disk::has_small_disks;
