// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMU's live migration, for any hypervisor to embed.
//!
//! Guest memory moves over the multifd channels of [`multifd_core`]. This crate is what stands around
//! them: the main channel that says what moves and when a round ends, the rounds over dirty memory,
//! the switchover, and the device state. It is byte-compatible with QEMU in both directions.
//!
//! | module | what it is |
//! |---|---|
//! | [`source`] | the sending end |
//! | [`destination`] | the receiving end |
//! | [`relay`] | between the two: another method, number of channels, bandwidth on each side |
//! | [`dirty`] | which pages the guest has written to |
//! | [`stream`] | the main channel, byte for byte: reading and writing it, without threads or policy |
//! | [`system_calls`] | what each thread asks of the kernel |
//!
//! # When to use it
//!
//! By a VMM that sends its guest to another host, or takes one in: it gives memory, connected transports, a
//! [`DirtyLog`], and the few calls of [`SourceHost`] and [`DestinationHost`]. On KVM `multifd-kvm` has the log. A guest
//! that stands still needs less:
//!
//! ```
//! use std::error::Error;
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! use multifd_core::memory::Mapping;
//! use multifd_core::transport::SocketTransport;
//! use multifd_core::wire::BlockName;
//! use multifd_core::{GuestMemory, MethodOptions, PageSize, RamBlock, Registry};
//! use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
//! use multifd_migration::{
//!     Connections, Destination, DestinationConfig, DestinationHost, HostError, Source, SourceConfig,
//! };
//!
//! struct Vmm(GuestMemory);
//!
//! impl DestinationHost for Vmm {
//!     fn memory(&mut self, _: &Configuration, _: &[AnnouncedBlock]) -> Result<GuestMemory, HostError> {
//!         Ok(self.0.clone())
//!     }
//!
//!     fn complete(&mut self, _devices: &Tail) -> Result<(), HostError> {
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! let memory = || -> Result<GuestMemory, Box<dyn Error>> {
//!     let name = BlockName::new("ram").ok_or("a name")?;
//!     let block = RamBlock::new(name, Arc::new(Mapping::anonymous(4 << 20)?))?;
//!     Ok(GuestMemory::new(PageSize::X86, vec![block])?)
//! };
//! let mut registry = Registry::new();
//! registry.register(multifd_none::NoneFactory)?;
//! let method = registry.open("none", &MethodOptions::new())?;
//!
//! // The main connection and two channels, as many as a destination expects unless it is told otherwise.
//! let destination = Destination::new(DestinationConfig::default(), Arc::clone(&method));
//! let mut connect = || -> Result<Box<_>, Box<dyn Error>> {
//!     let (ours, theirs) = UnixStream::pair()?;
//!     destination.accept(Box::new(SocketTransport::new(theirs)?))?;
//!     Ok(Box::new(SocketTransport::new(ours)?))
//! };
//! let connections = Connections::new(connect()?, vec![connect()?, connect()?])?;
//! let source = Source::new(SourceConfig::default(), memory()?, method, connections)?;
//!
//! let sending = std::thread::spawn(move || source.run_stopped());
//! let received = destination.run(&mut Vmm(memory()?))?;
//! let sent = sending.join().map_err(|_| "a panic")??;
//! assert_eq!(sent.transferred(), received.transferred());
//! # Ok(())
//! # }
//! ```
//!
//! A guest that runs, its devices, threads, failures and TLS: the page `docs/embedding.md` of the repository walks through a
//! hypervisor that embeds this crate.

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
