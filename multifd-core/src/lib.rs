//! The engine of QEMU's multifd live migration, for any hypervisor to embed.
//!
//! Guest memory moves between two hosts over several channels at once, in packets of up to 512 KiB
//! of pages, byte-compatible with QEMU in both directions. How pages become bytes is a *method*
//! ([`MultifdMethods`]), a plugin chosen by name through a [`Registry`]. This crate knows no
//! compressor: it owns packets, channels, zero pages, barriers and abort.
//!
//! The modules are layers; each imports only from those before it:
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
//! | `channel` | one channel's work: packets in, packets out |
//! | [`engine`] | [`Sender`] and [`Receiver`]: all channels of one migration; [`Forwarder`]: a relay |
//!
//! Nothing here is global: two migrations can run in one process.

#[cfg(not(target_os = "linux"))]
compile_error!("multifd-core is for Linux: event descriptors, poll and madvise are Linux's");

mod channel;
pub mod engine;
pub mod error;
pub mod geometry;
pub mod memory;
pub mod method;
pub mod pages;
pub mod transport;
pub mod wire;

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
pub use wire::MethodId;
