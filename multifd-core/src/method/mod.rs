// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a compression method is.
//!
//! A method makes payload and nothing else: header, flags, zero pages, channel numbers, sockets and
//! barriers belong to the engine. Its life has three steps:
//!
//! 1. A [`MethodFactory`] is registered in the host's [`Registry`] at start-up. It only knows its
//!    name.
//! 2. [`MethodFactory::open`] is called once per migration on the host's own thread. Everything
//!    that opens files, loads libraries or probes devices happens here.
//! 3. [`MultifdMethods::send_setup`] or [`MultifdMethods::recv_setup`] is called on each channel's
//!    thread. The state lives and is dropped on that thread. Once it is set up the host may install
//!    a seccomp filter there: from then on a method opens nothing, sleeps never, spawns no thread
//!    and grows no large buffer. A method whose device may block for ever has its second thread from the
//!    set-up on, by [`ChannelSetup::threads`].
//!
//! The hooks have the names of QEMU's `MultiFDMethods`; the two cleanup hooks are `Drop`.

mod accelerator;
mod contract;
mod error;
mod implementation;
mod options;
mod path;
mod registry;
mod rung;
mod spawn;

pub use accelerator::Accelerator;
pub(crate) use contract::ACCELERATOR_LIMIT;
pub use contract::{ChannelSetup, MultifdMethods, RecvMethod, SendMethod};
pub use error::MethodError;
pub use implementation::Implementation;
pub use options::MethodOptions;
pub use path::{CodecPath, Fallback, PathCounts, Tally};
pub use registry::{MethodFactory, Registry, RegistryError};
pub use rung::{MOST_RUNGS, Rung, RungCount, rungs_up_to};
pub use spawn::{Spawn, StdThreads, ThreadKind};
