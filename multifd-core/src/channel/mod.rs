// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One channel: what its thread does with packets.
//!
//! Here are no threads and no locks, only the work of one thread: `batch` and `send` turn pages
//! and device state into packets, `recv` reads packets and has a `sink` take their pages: `fill`
//! those of a guest. [`crate::engine`] runs them.

mod batch;
mod copies;
mod device_state;
mod failure;
mod fill;
mod init;
mod other_pages;
mod populate;
mod reader;
mod recv;
mod round;
mod send;
mod sink;
mod stats;
mod stranger;

pub use device_state::{DeviceState, DeviceStateSink};
pub use stats::{ChannelStats, MigrationStats, Monitor};

pub(crate) use batch::{Batch, BatchChannel, Zeros, is_zero_page};
pub use failure::PeerClosed;
pub(crate) use failure::caller;
pub(crate) use fill::GuestTarget;
pub(crate) use init::{Prelude, recv_prelude};
pub(crate) use recv::{Received, RecvChannel};
pub(crate) use round::RoundPages;
pub(crate) use send::SendChannel;
pub(crate) use sink::{Arrived, PageSink, PageTarget, not_announced};
pub(crate) use stats::Counters;
pub(crate) use stranger::Stranger;
