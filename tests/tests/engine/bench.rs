// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A receiver, and sources made by hand.

use std::thread;

use multifd_core::transport::send_all;
use multifd_core::{ChannelCount, Error, GuestMemory, PageSize, Receiver, ReceiverConfig};
use multifd_tests::network::{self, Endpoint, Link};

use crate::guest;
use crate::rig;

/// A receiver with a block `ram` of 16 pages, full of 0xee.
pub(crate) struct Bench {
    pub(crate) receiver: Receiver,
    pub(crate) target: GuestMemory,
}

impl Bench {
    pub(crate) fn new(channels: u8) -> Self {
        Self::with(channels, ReceiverConfig::default())
    }

    pub(crate) fn with(channels: u8, mut config: ReceiverConfig) -> Self {
        config.channels = ChannelCount::new(channels).unwrap();
        let target = guest::memory(PageSize::X86, &[("ram", 16)]);
        guest::fill_all(&target, 0xee);
        Self {
            receiver: Receiver::new(config, rig::none()),
            target,
        }
    }

    /// A new connection on which the source has sent `bytes`.
    pub(crate) fn connect(&self, bytes: &[u8]) -> Result<Endpoint, Error> {
        let (mut source, destination, _) =
            network::pair(Link::default().capacity(1 << 20), Link::default());
        send_all(&mut source, &mut [bytes.into()]).unwrap();
        self.receiver.accept(Box::new(destination))?;
        Ok(source)
    }

    /// Waits until the main connection and all channels are known.
    pub(crate) fn wait_complete(&self) {
        while !self.receiver.is_complete() {
            thread::yield_now();
        }
    }

    /// Waits until so many connections have been closed as strangers, and answers why the last one was.
    pub(crate) fn wait_strangers(&self, count: u64) -> String {
        loop {
            let strangers = self.receiver.strangers();
            assert!(strangers.count <= count, "{strangers:?}");
            match strangers.last {
                Some(last) if strangers.count == count => return last,
                _ => thread::yield_now(),
            }
        }
    }

    pub(crate) fn attach(&self) {
        self.receiver.attach(self.target.clone()).unwrap();
    }

    /// The content of a page of `ram`.
    pub(crate) fn page(&self, page: usize) -> Vec<u8> {
        guest::read(&self.target, guest::pages(&self.target)[page])
    }
}
