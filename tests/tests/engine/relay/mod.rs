// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay's forwarder, between senders and receivers and between hand-made peers.

mod bench;
mod order;
mod pages;
mod refusals;
