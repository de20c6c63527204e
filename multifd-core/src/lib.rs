// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

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
//! | `adapt` | which rung of a method's ladder the next packet is made on |
//! | `channel` | one channel's work: packets in, packets out |
//! | [`engine`] | [`Sender`] and [`Receiver`]: all channels of one migration; [`Forwarder`]: a relay |
//!
//! Nothing here is global: two migrations can run in one process.
//!
//! # When to use it
//!
//! By itself it is for whoever has a main channel of its own: [`Sender`] and [`Receiver`] move pages over the channels
//! and know when a round is complete, and no more. A VMM that migrates as QEMU does takes `multifd-migration`, which
//! is built on this crate; a codec, also one of one's own, is a crate that implements [`MultifdMethods`].
//!
//! ```
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! use multifd_core::memory::Mapping;
//! use multifd_core::transport::SocketTransport;
//! use multifd_core::wire::BlockName;
//! use multifd_core::{
//!     GuestMemory, MethodOptions, PageSize, RamBlock, Receiver, ReceiverConfig, Registry, Sender,
//!     SenderConfig,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = || -> Result<GuestMemory, Box<dyn std::error::Error>> {
//!     let name = BlockName::new("ram").ok_or("a name")?;
//!     let block = RamBlock::new(name, Arc::new(Mapping::anonymous(64 << 12)?))?;
//!     Ok(GuestMemory::new(PageSize::X86, vec![block])?)
//! };
//! let (here, there) = (memory()?, memory()?);
//! let page = |memory: &GuestMemory| -> Option<u8> {
//!     let mut byte = [0];
//!     memory.blocks().first()?.span(3 << 12, 1)?.copy_to(&mut byte);
//!     Some(byte[0])
//! };
//! here.blocks()[0].span(3 << 12, 1).ok_or("a page")?.copy_from(&[7]);
//!
//! let mut registry = Registry::new();
//! registry.register(multifd_none::NoneFactory)?;
//! let method = registry.open("none", &MethodOptions::new())?;
//!
//! let receiver = Receiver::new(ReceiverConfig::default(), Arc::clone(&method));
//! let mut channels = Vec::new();
//! for _ in 0..2 {
//!     let (ours, theirs) = UnixStream::pair()?;
//!     receiver.accept(Box::new(SocketTransport::new(theirs)?))?;
//!     channels.push(Box::new(SocketTransport::new(ours)?) as _);
//! }
//! let mut sender = Sender::start(&SenderConfig::default(), here.clone(), &method, channels)?;
//! receiver.attach(there.clone())?;
//! let (block, _) = here.indexed().next().ok_or("a block")?;
//! // The channels meet once before any page. What says so is the main channel's.
//! sender.sync()?;
//! receiver.sync()?;
//! // A round: all of it, then the point where they meet again.
//! sender.queue_run(block, 0, 64)?;
//! sender.sync()?;
//! receiver.sync()?;
//! receiver.end_memory()?;
//! sender.finish()?;
//! receiver.finish()?;
//! assert_eq!(page(&there), Some(7));
//! # Ok(())
//! # }
//! ```

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
pub use wire::MethodId;
