// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sender and receiver, against each other and against hand-made peers, over networks that
//! misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "the functions beside the tests are tests too, which clippy.toml cannot tell"
)]

mod abort_receiver;
mod abort_sender;
mod bench;
mod cuts;
mod guest;
mod hostile;
mod last_barrier;
mod linger;
mod method_faults;
mod old_senders;
mod random;
mod relay;
mod relay_rig;
mod rig;
mod round_trip;
mod scripted;
mod sockets;
mod strangers;
mod stream;
mod stuck;
mod threads;
mod wire;
