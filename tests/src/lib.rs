// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the tests across crates share.
//!
//! The tests themselves are in this package's `tests` folder; recorded migrations are in `vectors`.

pub mod arena;
pub mod by_hand;
pub mod certificates;
pub mod command;
pub mod conformance;
pub mod documents;
pub mod fuzzing;
pub mod guest;
pub mod host;
pub mod interop;
pub mod isal;
pub mod libqpl;
pub mod live;
pub mod measured;
pub mod network;
pub mod one_byte;
pub mod peer;
pub mod stand_in;
pub mod streams;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod system_calls;
pub mod vendor_library;
pub mod wiretap;

/// The embedding example of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
