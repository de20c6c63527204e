// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay: packets that arrive wait in an exchange until a channel sends them on.
//! May import the ground and `intake`.

mod channel;
mod delay;
mod exchange;
mod forwarder;
mod forwarding;
mod pace;
mod parcel;
mod room;
mod rounds;
mod sink;
mod thread;

pub use delay::Delay;
pub use forwarder::{Forwarder, ForwarderConfig};
pub use forwarding::{Backlog, ForwardStats, Forwarding};
pub use pace::Bandwidth;
