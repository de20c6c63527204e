// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A forwarder with a source and a destination that are made by hand.

use std::time::Duration;

use multifd_core::transport::{Transport, send_all};
use multifd_core::{ChannelCount, Forwarder, ForwarderConfig, PageSize};
use multifd_tests::network::{self, Endpoint, Link};
use parking_lot::Mutex;

use crate::guest;
use crate::relay_rig::blocks;
use crate::rig::none;
use crate::stream;

/// A forwarder, and a source made by hand.
pub(super) struct Bench {
    pub(super) forwarder: Forwarder,
    pub(super) sources: Mutex<Vec<Endpoint>>,
    pub(super) to: u8,
}

/// The forwarder's other side.
pub(super) struct Out<'f> {
    pub(super) forwarding: multifd_core::engine::Forwarding<'f>,
    pub(super) destinations: Vec<Endpoint>,
    pub(super) taps: Vec<network::Tap>,
    /// One block `ram` of 16 pages.
    pub(super) blocks: Vec<(multifd_core::wire::BlockName, u64)>,
}

impl Bench {
    pub(super) fn new(from: u8, to: u8, mut config: ForwarderConfig) -> Self {
        config.channels = ChannelCount::new(from).unwrap();
        let forwarder = Forwarder::new(config, none());
        let sources = (0..from).map(|_| {
            let link = Link::default().capacity(1 << 20);
            let (source, relay, _) = network::pair(link, Link::default());
            forwarder.accept(Box::new(relay)).unwrap();
            source
        });
        let sources = Mutex::new(sources.collect());
        Self {
            forwarder,
            sources,
            to,
        }
    }

    pub(super) fn send(&self, channel: usize, bytes: &[u8]) {
        send_all(&mut self.sources.lock()[channel], &mut [bytes.into()]).unwrap();
    }

    /// One more connection, on which somebody has sent `bytes`.
    pub(super) fn connect(&self, bytes: &[u8]) -> Endpoint {
        let link = Link::default().capacity(1 << 20);
        let (mut source, relay, _) = network::pair(link, Link::default());
        send_all(&mut source, &mut [bytes.into()]).unwrap();
        self.forwarder.accept(Box::new(relay)).unwrap();
        source
    }

    /// Starts it, with the source's first barrier behind it: pages may come.
    pub(super) fn begin(&self) -> Out<'_> {
        self.send(0, &stream::init(0));
        let mut out = self.start();
        self.send(0, &stream::sync());
        out.forwarding.attach(out.blocks.clone()).unwrap();
        out.forwarding.sync().unwrap();
        out
    }

    pub(super) fn start(&self) -> Out<'_> {
        let mut connections: Vec<Box<dyn Transport>> = Vec::new();
        let (mut destinations, mut taps) = (Vec::new(), Vec::new());
        for _ in 0..self.to {
            let link = Link::default().capacity(1 << 20);
            let (relay, destination, tap) = network::pair(link, Link::default());
            connections.push(Box::new(relay));
            destinations.push(destination);
            taps.push(tap.forth);
        }
        let uuid = self.forwarder.wait_uuid(Duration::from_secs(30)).unwrap();
        let forwarding = self.forwarder.start(uuid, &none(), connections).unwrap();
        let memory = guest::memory(PageSize::X86, &[("ram", 16)]);
        Out {
            forwarding,
            destinations,
            taps,
            blocks: blocks(&memory),
        }
    }
}

impl Out<'_> {
    pub(super) fn read(&mut self, channel: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let room = &mut [bytes.as_mut_slice().into()];
        assert!(multifd_core::transport::recv_all(&mut self.destinations[channel], room).unwrap());
        bytes
    }
}
