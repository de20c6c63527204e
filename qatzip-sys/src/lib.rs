// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Which libraries
//!
//! libqatzip 1.1 to 2.0, which have the soname `libqatzip.so.3`. The declarations are typed from
//! `qatzip.h`, and are the same in the versions of that interface that were compared: 2.3, 2.5
//! (libqatzip 1.3.1) and 2.6 (2.0.0).
//!
//! The library cannot be asked for its release: `qzGetSoftwareComponentVersionList` is declared, but
//! not done on Linux. What is checked instead when it is loaded: all functions that are needed are
//! there, and `qzGetDefaultsDeflate` writes a structure of the length that is declared here, with a
//! legal value in each field. [`Library::file`] is the file that was really loaded, and the number in
//! its name tells releases apart: `libqatzip.so.3.2.0` is 1.3.1, `libqatzip.so.3.3.0` is 2.0.0.
//!
//! ## Memory
//!
//! A device may write later than its library says, and the library never forgets an address that a
//! device has reached. So the memory of buffers is the process's as long as it runs: it waits for the next
//! buffer once it is not used any more, and is never used again if a device may still be at work with it.
//! There is at most 1 GiB of it.
//!
//! ## What the library does by itself
//!
//! It is loaded once and stays loaded: with a device it starts a thread that never ends. It tells
//! nobody what a device is doing: `qzGetStatus` is not done on Linux either. A session without the
//! library's software, as [`Config::new`] makes it, is the way to know: what it answers was done by
//! the device. The exception are drivers with an interface of compression older than 3.0 at level 9,
//! which that interface does not have.
//!
//! The library's software looks for a device with every call, as long as there is none: it opens
//! files, and libqat may write a line to stderr each time.

mod bindings;
mod buffer;
mod code;
mod config;
mod error;
mod library;
mod pool;
mod session;

pub use buffer::Buffer;
pub use code::Code;
pub use config::Config;
pub use error::Error;
pub use library::Library;
pub use session::Session;
