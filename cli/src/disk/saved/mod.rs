// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that are kept in a folder: `recv --save` writes one, `send --load` sends it again.
//!
//! | file | what is in it |
//! |---|---|
//! | `manifest.json` | the [manifest](Manifest): what the others are |
//! | `ram/NN-NAME` | a RAM block, byte for byte; zero pages are holes |
//! | `early-sections.bin` | what devices sent before the end of the memory, section by section; only if any came |
//! | `devices.bin` | all that came behind the memory: device sections, end mark, VM description |
//! | `device-packets.bin` | device state that came over the channels, packet by packet; only if any came |
//!
//! The folder appears under its name when all of that is on the disk, and only then. `docs/saved-migration.md`
//! describes it for other programs.

mod date;
mod early_layout;
mod early_read;
mod early_write;
mod folder;
mod manifest;
mod names;
mod packets;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use early_read::EarlyDevice;
pub(crate) use manifest::Manifest;
pub(crate) use names::{RAM, UNRELEASED};
pub(crate) use read::{Saved, check_names};
pub(crate) use write::{How, Saving};
