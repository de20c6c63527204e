// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests of this project.
//!
//! One counts: the boot sector of `guest/counter.s`, and what its memory must look like.
//!
//! It writes a pass number and words derived from it to every page from [`FIRST`] up to its limit, in
//! the order of addresses, pass after pass, and prints a letter on the serial port after each pass. So
//! its memory can be checked after a migration page by page, to the last word: see [`check`].
//!
//! ```no_run
//! use multifd_tests::{guest, peer};
//!
//! # fn main() -> anyhow::Result<()> {
//! let Some(binary) = peer::require()? else { return Ok(()) };
//! let Some(counter) = guest::require(16 << 20)? else { return Ok(()) };
//! let mut qemu = binary.machine().machine_type("pc").boot(&counter).running().start()?;
//! qemu.wait_passes(2)?;
//! qemu.pause()?;
//! let snapshot = guest::check(&qemu.physical_memory(counter.range())?)?;
//! println!("the guest was in pass {}", snapshot.pass);
//! # Ok(())
//! # }
//! ```

mod build;
mod foreign;
mod paced;
mod page;
mod snapshot;

pub use build::{Counter, require};
pub use foreign::Foreign;
pub use paced::Paced;
pub use page::{FIRST, Kind, PAGE, page};
pub use snapshot::{Border, Snapshot, check};

/// The letter that the guest prints after a pass.
#[must_use]
pub fn letter(pass: u32) -> u8 {
    let place = pass.wrapping_sub(1) % 26;
    b'A'.saturating_add(u8::try_from(place).unwrap_or(0))
}
