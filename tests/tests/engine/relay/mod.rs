//! A relay's forwarder, between senders and receivers and between hand-made peers.

mod bench;
mod order;
mod pages;
mod refusals;
