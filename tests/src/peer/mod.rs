// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Real QEMUs as the other side of a migration.
//!
//! A test asks for a QEMU with [`require`], starts processes with [`Binary::machine`] and drives them
//! over QMP with the methods of [`Qemu`]:
//!
//! ```no_run
//! use multifd_tests::peer;
//! use serde_json::json;
//! use std::time::Duration;
//!
//! # fn main() -> anyhow::Result<()> {
//! let Some(binary) = peer::require()? else {
//!     return Ok(());
//! };
//! let mut source = binary.machine().memory_file("/tmp/ram", 4 << 20).start()?;
//! source.set_capabilities(&[("multifd", true)])?;
//! source.set_parameters(json!({"multifd-compression": "zstd"}))?;
//! source.migrate("unix:/tmp/migration")?;
//! source.wait_status(&["completed"], Duration::from_secs(30))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Facts about QEMU that a test needs
//!
//! * On a destination the `multifd` capability has to be set before `migrate-incoming`.
//! * `-machine none` is enough of a machine to migrate: it has one block of memory and two small
//!   device sections. Its memory block is named [`RAM_BLOCK`] in the stream, with a memory file as
//!   without one.
//! * A destination whose migration fails ends itself, unless `migrate-incoming` was told
//!   `"exit-on-error": false` (QEMU 9.1 and newer). The error then shows up as a lost QMP connection
//!   with QEMU's stderr.
//! * Any other machine can [boot](Builder::boot) a [guest that counts](crate::guest); it writes over
//!   its memory while it migrates.
//! * A QEMU writes received pages to its memory file when they arrive, so the file can be compared as
//!   soon as the destination reports `completed`.

mod accelerator;
mod binary;
mod builder;
mod guest;
mod migration;
mod process;
mod processor;
mod qmp;

pub use binary::{Binary, Unavailable, are_required, require, require_new, require_old};
pub use builder::{Builder, RAM_BLOCK};
pub use guest::Passes;
pub use process::{CpuTime, Qemu};
pub use processor::{Processor, require_emulator};
pub use qmp::QmpError;
