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

mod barrier;
mod control;
mod delay;
mod exchange;
mod forwarder;
mod forwarding;
mod gate;
mod known_uuid;
mod lanes;
mod linger;
mod outlet_thread;
mod pace;
mod receiver;
mod receiver_config;
mod receiver_thread;
mod rounds;
mod sender;
mod sender_thread;
mod spawn;

pub use control::AbortHandle;
pub use delay::Delay;
pub use forwarder::{Forwarder, ForwarderConfig};
pub use forwarding::{Backlog, ForwardStats, Forwarding};
pub use receiver::Receiver;
pub use receiver_config::ReceiverConfig;
pub use sender::{Sender, SenderConfig};
pub use spawn::{Spawn, StdThreads};
