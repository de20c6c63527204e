// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! All channels of one migration.
//!
//! [`Sender`] and [`Receiver`] are ordinary values: the host creates them with its memory, its
//! connected sockets and its way to start threads, and drops them when it likes. Dropping one in
//! any state ends its threads. An [`AbortHandle`] does so from any thread, and frees whoever is
//! blocked in a call.
//!
//! ```text
//! source                                       destination
//!
//!   host's thread                                host's thread (main channel)
//!     Sender::queue ──batch──▶ channel thread ═══▶ channel thread ──▶ guest memory
//!     Sender::sync  ──SYNC───▶ channel thread ═══▶ channel thread ──▶ parked until
//!                   ◀─empty batch─┘                                   Receiver::sync
//! ```
//!
//! A [`Forwarder`] is both at once, without guest memory between them: a relay.
//!
//! ```text
//! source ═══▶ channel thread ──packet──▶ channel thread ═══▶ destination
//!                    └◀────empty packet──────┘
//! ```
//!
//! Four rooms stand on common ground, the plain files of this folder: `control` (why and when a
//! migration is over), `spawn` (its threads), `barrier`, `limits` (how long it waits), `stall` (nothing moves) and `channel_start`.
//! `intake` accepts connections; `receiver` and `relay` are built on it. `sender` and the others do not
//! know each other.

mod barrier;
mod channel_start;
mod control;
mod intake;
mod limits;
mod receiver;
mod relay;
mod sender;
mod spawn;
mod stall;

pub use control::AbortHandle;
pub use intake::Strangers;
pub use limits::Limits;
pub use receiver::{Receiver, ReceiverConfig};
pub use relay::{Backlog, Bandwidth, Delay, ForwardStats, Forwarder, ForwarderConfig, Forwarding};
pub use sender::{Sender, SenderConfig};
pub use stall::Stall;

pub use crate::method::{Spawn, StdThreads, ThreadKind};
