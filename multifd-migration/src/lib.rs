// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! | module | what it is |
//! |---|---|
//! | [`source`] | the sending end |
//! | [`destination`] | the receiving end |
//! | [`relay`] | between the two: another method, number of channels, bandwidth on each side |
//! | [`dirty`] | which pages the guest has written to |
//! | [`stream`] | the main channel, byte for byte: reading and writing it, without threads or policy |
//! | [`system_calls`] | what each thread asks of the kernel |

pub mod destination;
pub mod dirty;
mod handover;
mod host_error;
mod millis;
mod options;
pub mod relay;
mod report;
mod run_state;
pub mod source;
pub mod stream;
#[doc = include_str!("system_calls.md")]
pub mod system_calls {}
mod thread;
mod unsupported;

pub use destination::{
    Destination, DestinationConfig, DestinationFailure, DestinationHost, GuestHere,
};
pub use dirty::{DirtyBitmap, DirtyLog};
pub use handover::Work;
pub use host_error::HostError;
pub use multifd_core::Limits;
pub use options::{channel_count, method_options};
pub use relay::{Relay, RelayConfig, RelayFailure, RelayHandle, RelayHost, RelayReport};
pub use report::Report;
pub use run_state::RunState;
pub use source::{
    Connections, EarlySections, Source, SourceConfig, SourceFailure, SourceHandle, SourceHost,
};
pub use unsupported::Unsupported;
