// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Watching and disturbing one direction of a connection.

use std::sync::Arc;

use super::Ending;
use super::pipe::Pipe;

/// The taps on both directions of a connection.
#[derive(Clone)]
pub struct Taps {
    /// From the first end to the second one.
    pub forth: Tap,
    /// From the second end to the first one.
    pub back: Tap,
}

/// Watches and disturbs one direction of a connection, from any thread.
#[derive(Clone)]
pub struct Tap(Arc<Pipe>);

impl Tap {
    pub(super) fn new(pipe: Arc<Pipe>) -> Self {
        Self(pipe)
    }

    /// How many bytes have been sent.
    pub fn sent(&self) -> u64 {
        self.0.change(|state| state.sent)
    }

    /// How many bytes have been received.
    pub fn received(&self) -> u64 {
        self.0.change(|state| state.received)
    }

    /// All bytes that have been sent, if the link is recorded.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.change(|state| state.record.clone())
    }

    /// Holds back all bytes after the first `count`.
    pub fn hold_after(&self, count: u64) {
        self.0.change(|state| state.hold(Some(count)));
    }

    /// Lets all bytes go that were held back.
    pub fn release(&self) {
        self.0.change(|state| state.hold(None));
    }

    /// Ends the connection in this direction behind what has been sent.
    pub fn cut(&self, ending: Ending) {
        self.0.change(|state| state.end(ending));
    }

    /// Ends the connection in this direction after the first `count` bytes, at once or when so many have come; what
    /// has been sent behind them is lost.
    pub fn cut_after(&self, count: u64, ending: Ending) {
        self.0.change(|state| state.cut_after(count, ending));
    }

    /// Waits until the sender is blocked in a call.
    pub fn wait_sender_blocked(&self) {
        self.0.wait(|state| state.sender_blocked.then_some(()));
    }

    /// Waits until the receiver has closed its end.
    pub fn wait_receiver_gone(&self) {
        self.0.wait(|state| state.receiver_gone.then_some(()));
    }

    /// Waits until the receiver is blocked in a call.
    pub fn wait_receiver_blocked(&self) {
        self.0.wait(|state| state.receiver_blocked.then_some(()));
    }

    /// Waits until `count` bytes have been sent.
    pub fn wait_sent(&self, count: u64) {
        self.0.wait(|state| (state.sent >= count).then_some(()));
    }

    /// Waits until `count` bytes have been received.
    pub fn wait_received(&self, count: u64) {
        self.0.wait(|state| (state.received >= count).then_some(()));
    }
}
