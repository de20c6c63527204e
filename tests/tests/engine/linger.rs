// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination that has failed does with its connections until the source knows.

use std::thread;
use std::time::Duration;

use multifd_core::transport::{Transport as _, send_all};
use multifd_core::{ChannelCount, Fault, Receiver, ReceiverConfig};
use multifd_tests::network::{self, Endpoint, Link, Watchdog};

use crate::rig;
use crate::stream;
use crate::threads::Alive;

const CHANNELS: u8 = 3;
const FOREVER: Duration = Duration::MAX;

/// More than a connection holds, so that somebody has to take it.
const MUCH: usize = 300_000;

/// A destination that has failed, and the source's ends of its channels.
struct Failed {
    receiver: Receiver,
    connections: Alive,
    peers: Vec<Endpoint>,
}

impl Failed {
    /// The last channel has sent what no source sends.
    fn new() -> Self {
        let mut config = ReceiverConfig::default();
        config.channels = ChannelCount::new(CHANNELS).unwrap();
        let mut failed = Self {
            receiver: Receiver::new(config, rig::none()),
            connections: Alive::default(),
            peers: Vec::new(),
        };
        for channel in 0..CHANNELS - 1 {
            let peer = failed.connect(&stream::init(channel));
            failed.peers.push(peer);
        }
        let peer = failed.connect(&[stream::init(CHANNELS - 1), vec![7; 64]].concat());
        failed.peers.push(peer);
        assert_eq!(failed.receiver.sync().unwrap_err().fault(), Fault::Peer);
        failed
    }

    /// A connection on which the source sends `bytes`. Whether it is refused does not matter.
    fn connect(&self, bytes: &[u8]) -> Endpoint {
        let link = Link::default().capacity(1 << 16);
        let (mut here, there, _) = network::pair(link, Link::default());
        send_all(&mut here, &mut [bytes.into()]).unwrap();
        let _ = self.receiver.accept(self.connections.watch(there));
        here
    }
}

fn send_much(peer: &mut Endpoint) {
    send_all(peer, &mut [vec![9; MUCH].as_slice().into()]).unwrap();
}

/// Whether the destination has closed its end.
fn is_closed(peer: &mut Endpoint) -> bool {
    !matches!(peer.recv(&mut [[0].as_mut_slice().into()]), Ok(1..))
}

#[test]
fn channels_take_what_comes_until_the_source_closes_them() {
    let _watchdog = Watchdog::start();
    let mut failed = Failed::new();
    for peer in &mut failed.peers {
        send_much(peer);
    }
    assert_eq!(failed.connections.count(), usize::from(CHANNELS));
    failed.peers.clear();
    failed.receiver.settle(None, FOREVER);
    assert_eq!(failed.connections.count(), 0);
}

#[test]
fn a_source_that_keeps_them_is_not_waited_for() {
    let _watchdog = Watchdog::start();
    let mut failed = Failed::new();
    failed.receiver.settle(None, Duration::ZERO);
    assert_eq!(failed.connections.count(), 0);
    assert!(failed.peers.iter_mut().all(is_closed));
    // Nor is any other connection taken.
    let mut peer = failed.connect(&stream::init(0));
    assert!(is_closed(&mut peer));
    assert_eq!(failed.connections.count(), 0);
}

/// The source has not heard of the failure yet when it makes the rest of its connections.
#[test]
fn connections_that_come_late() {
    let _watchdog = Watchdog::start();
    let mut failed = Failed::new();
    let mut channel = failed.connect(&stream::init(0));
    send_much(&mut channel);
    // It is told by the end of its main connection.
    let mut main = failed.connect(b"QEVM");
    assert!(is_closed(&mut main));
    failed.peers.clear();
    thread::scope(|scope| {
        let settled = scope.spawn(|| failed.receiver.settle(None, FOREVER));
        let mut last = failed.connect(&stream::init(1));
        send_much(&mut last);
        assert!(!settled.is_finished());
        drop((last, channel));
    });
    assert_eq!(failed.connections.count(), 0);
}

/// A connection that is closed with something unread in it takes back what was sent.
#[test]
fn the_main_connection_is_read_to_its_end() {
    let _watchdog = Watchdog::start();
    let mut failed = Failed::new();
    failed.peers.clear();
    let (mut here, there, taps) = network::pair(Link::default(), Link::default());
    let there = failed.connections.watch(there);
    thread::scope(|scope| {
        scope.spawn(move || {
            send_much(&mut here);
            send_much(&mut here);
        });
        failed.receiver.settle(Some(there), FOREVER);
    });
    assert_eq!(taps.forth.received(), 2 * MUCH as u64);
    assert_eq!(failed.connections.count(), 0);
}

/// The memory is bounded, however many connections somebody makes.
#[test]
fn no_more_connections_than_a_source_can_have() {
    let _watchdog = Watchdog::start();
    let failed = Failed::new();
    let mut peers: Vec<_> = (0..300).map(|_| failed.connect(&stream::init(0))).collect();
    assert_eq!(failed.connections.count(), 256);
    assert!(is_closed(&mut peers[299]));
}
