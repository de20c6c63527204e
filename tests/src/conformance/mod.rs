// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What every method has to do, whatever its payload looks like.
//!
//! The checks take any opened method and drive it as a channel does, without sockets: a sender's
//! payload is gathered into bytes, and a receiver reads it from them. A method's test runs
//! [`check`], and [`round_trip::check`] on each of its levels, and then has only to test what is its
//! own: its format.
//!
//! ```
//! use multifd_core::{MethodFactory, MethodOptions};
//! use multifd_tests::conformance::{self, Integrity, Subject};
//!
//! let method = multifd_none::NoneFactory.open(&MethodOptions::new())?;
//! conformance::check(&Subject::new(method, Integrity::Unchecked))?;
//! # Ok::<(), anyhow::Error>(())
//! ```

mod content;
pub mod damage;
mod guest;
mod python;
pub mod race;
pub mod recorded;
pub mod round_trip;
mod subject;
mod wire;

pub use content::{Kind, PageSource, fill};
pub use guest::Guest;
pub use python::python;
pub use subject::{Integrity, OnRungs, Subject};
pub use wire::{Verdict, pack, pack_all, setup, unpack, unpack_all};

use anyhow::{Context, Result};

/// Runs every check.
///
/// # Errors
/// The first check that failed, what it did and what came out.
pub fn check(subject: &Subject) -> Result<()> {
    let checks: [(&str, Check); 8] = [
        ("round trip", round_trip::check),
        ("many packets on a channel", round_trip::check_channel),
        ("recorded memory", recorded::check_memory),
        ("payload cut off", damage::check_cuts),
        ("payload too long", damage::check_excess),
        ("longest payload", damage::check_longest),
        ("payload changed", damage::check_flips),
        ("memory that changes", race::check),
    ];
    for (name, check) in checks {
        check(subject).with_context(|| format!("{}: {name}", subject.method.name()))?;
    }
    Ok(())
}

type Check = fn(&Subject) -> Result<()>;
