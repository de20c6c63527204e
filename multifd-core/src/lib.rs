// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! They are layers; each imports only from those before it:
//!
//! | module | what it is |
//! |---|---|
//! | [`error`] | what went wrong, where, and whose fault it is |
//! | [`geometry`] | page sizes, channel numbers and counts |
//! | [`wire`] | the packets, byte for byte |
//! | [`memory`] | RAM blocks and every load and store of guest bytes |
//! | [`pages`] | the pages of one packet, as a method sees them |
//! | [`transport`] | connected byte streams that can be interrupted |
//! | [`method`] | the contract of a method, and the registry |
//! | `adapt` | which rung of a method's ladder the next packet is made on |
//! | `channel` | one channel's work: packets in, packets out |
//! | [`engine`] | [`Sender`] and [`Receiver`]: all channels of one migration; [`Forwarder`]: a relay |

#[cfg(not(target_os = "linux"))]
compile_error!("multifd-core is for Linux: event descriptors, poll and madvise are Linux's");

mod adapt;
mod channel;
pub mod engine;
pub mod error;
pub mod geometry;
pub mod memory;
pub mod method;
pub mod pages;
pub mod transport;
pub mod wire;

pub use adapt::AdaptConfig;
pub use channel::{
    ChannelStats, DeviceState, DeviceStateSink, MigrationStats, Monitor, PeerClosed,
};
pub use engine::{
    AbortHandle, Forwarder, ForwarderConfig, Limits, Receiver, ReceiverConfig, Sender,
    SenderConfig, Spawn, StdThreads, Strangers, ThreadKind,
};
pub use error::{Error, Fault, Place, Side};
pub use geometry::{ChannelCount, ChannelId, PageSize};
pub use memory::{GuestMemory, RamBlock};
pub use method::{
    ChannelSetup, MethodError, MethodFactory, MethodOptions, MultifdMethods, RecvMethod, Registry,
    SendMethod,
};
pub use pages::{Pages, PagesMut, Payload, Segments};
pub use wire::{MethodId, MethodIdentity};
