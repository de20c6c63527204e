// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rules that join several parameters, capabilities and the situation.
//!
//! One function per rule. [`Settings`](crate::Settings) runs them all; they are public so that a host can
//! ask for one of them before it offers a setting. A broken rule is a
//! [`ParamError::Conflict`](crate::ParamError::Conflict) whose message is QEMU's where QEMU has one.

mod among;
mod migrate;
mod verdict;

pub use among::*;
pub use migrate::*;
pub use verdict::Verdict;
