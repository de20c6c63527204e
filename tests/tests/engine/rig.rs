// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A sender and a receiver with a network between them, driven by one thread.

use std::sync::Arc;

use multifd_core::transport::Transport;
use multifd_core::{
    ChannelCount, Error, GuestMemory, MethodFactory, MethodOptions, MigrationStats, MultifdMethods,
    PageSize, Receiver, ReceiverConfig, Sender, SenderConfig,
};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{self, Link, Tap};

use crate::guest;

/// What is to be migrated, and over what.
pub(crate) struct Setup {
    pub(crate) channels: u8,
    pub(crate) blocks: Vec<(&'static str, usize)>,
    pub(crate) page_size: PageSize,
    pub(crate) link: Box<dyn Fn(u8) -> Link>,
    pub(crate) sender: SenderConfig,
    pub(crate) receiver: ReceiverConfig,
    pub(crate) send_method: Arc<dyn MultifdMethods>,
    pub(crate) recv_method: Arc<dyn MultifdMethods>,
    /// Decides in what order the connections arrive.
    pub(crate) seed: u64,
}

/// A migration in progress.
pub(crate) struct Rig {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) source: GuestMemory,
    pub(crate) target: GuestMemory,
    /// What goes from source to destination, by channel.
    pub(crate) taps: Vec<Tap>,
}

/// The method that leaves pages as they are.
pub(crate) fn none() -> Arc<dyn MultifdMethods> {
    let factory = multifd_none::NoneFactory;
    factory.open(&MethodOptions::new()).unwrap()
}

impl Setup {
    pub(crate) fn new(channels: u8) -> Self {
        Self {
            channels,
            blocks: vec![("ram", 300)],
            page_size: PageSize::X86,
            link: Box::new(|_| Link::default()),
            sender: SenderConfig::default(),
            receiver: ReceiverConfig::default(),
            send_method: none(),
            recv_method: none(),
            seed: 1,
        }
    }

    /// Starts both ends.
    pub(crate) fn start(self) -> Result<Rig, Error> {
        let mut receiver = self.receiver;
        receiver.channels = ChannelCount::new(self.channels).unwrap();
        // Any other size is known once memory is attached.
        receiver.page_size = receiver.page_size.filter(|size| *size == self.page_size);
        let receiver = Receiver::new(receiver, self.recv_method);

        let mut here: Vec<Box<dyn Transport>> = Vec::new();
        let mut there: Vec<Box<dyn Transport>> = Vec::new();
        let mut taps = Vec::new();
        for channel in 0..self.channels {
            let (first, second, tap) = network::pair((self.link)(channel), Link::default());
            here.push(Box::new(first));
            there.push(Box::new(second));
            taps.push(tap.forth);
        }
        let mut random = PageSource::new(self.seed);
        while !there.is_empty() {
            receiver.accept(there.swap_remove(random.below(there.len())))?;
        }
        let source = guest::memory(self.page_size, &self.blocks);
        let target = guest::memory(self.page_size, &self.blocks);
        let sender = Sender::start(&self.sender, source.clone(), &self.send_method, here)?;
        Ok(Rig {
            sender,
            receiver,
            source,
            target,
            taps,
        })
    }
}

impl Rig {
    /// The first sync point: the destination has no memory before it.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.sender.sync()?;
        self.receiver.attach(self.target.clone())?;
        self.receiver.sync()
    }

    /// A sync point.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.sender.sync()?;
        self.receiver.sync()
    }

    /// Queues every page of the source.
    pub(crate) fn queue_all(&mut self) -> Result<(), Error> {
        for (block, offset) in guest::pages(&self.source) {
            self.sender.queue(block, offset)?;
        }
        Ok(())
    }

    /// Ends both sides; answers what was sent and what was received.
    pub(crate) fn finish(self) -> Result<(MigrationStats, MigrationStats), Error> {
        let sent = self.sender.finish()?;
        Ok((sent, self.receiver.finish()?))
    }
}
