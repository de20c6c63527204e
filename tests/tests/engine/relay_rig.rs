// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A sender, a forwarder and a receiver with networks between them, driven by one thread.

use std::sync::Arc;
use std::time::Duration;

use multifd_core::engine::{ForwardStats, Forwarding};
use multifd_core::transport::Transport;
use multifd_core::wire::BlockName;
use multifd_core::{
    ChannelCount, Error, Forwarder, ForwarderConfig, GuestMemory, MigrationStats, MultifdMethods,
    PageSize, Receiver, ReceiverConfig, Sender, SenderConfig,
};
use multifd_tests::network::{self, Link, Tap};

use crate::guest;
use crate::rig::none;

/// What goes through the relay, and over what.
pub(crate) struct Setup {
    /// Of the source, of the destination.
    pub(crate) channels: (u8, u8),
    pub(crate) blocks: Vec<(&'static str, usize)>,
    pub(crate) page_size: PageSize,
    pub(crate) in_link: Box<dyn Fn(u8) -> Link>,
    pub(crate) out_link: Box<dyn Fn(u8) -> Link>,
    pub(crate) sender: SenderConfig,
    pub(crate) forwarder: ForwarderConfig,
    pub(crate) receiver: ReceiverConfig,
    /// Of the source, of the destination.
    pub(crate) methods: (Arc<dyn MultifdMethods>, Arc<dyn MultifdMethods>),
}

/// A source, whose connections end in a forwarder, and a destination, whose connections start there.
pub(crate) struct Ends {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) source: GuestMemory,
    pub(crate) target: GuestMemory,
    /// From the source to the forwarder.
    pub(crate) in_taps: Vec<Tap>,
    /// From the forwarder to the destination.
    pub(crate) out_taps: Vec<Tap>,
}

/// A whole migration through a relay.
pub(crate) struct RelayRig<'f> {
    pub(crate) ends: Ends,
    pub(crate) forwarding: Forwarding<'f>,
}

impl Setup {
    pub(crate) fn new(from: u8, to: u8) -> Self {
        Self {
            channels: (from, to),
            blocks: vec![("ram", 300)],
            page_size: PageSize::X86,
            in_link: Box::new(|_| Link::default()),
            out_link: Box::new(|_| Link::default()),
            sender: SenderConfig::default(),
            forwarder: ForwarderConfig::default(),
            receiver: ReceiverConfig::default(),
            methods: (none(), none()),
        }
    }

    /// The forwarder, to be given to [`Self::start`].
    pub(crate) fn forwarder(&self) -> Forwarder {
        let mut config = self.forwarder.clone();
        config.channels = ChannelCount::new(self.channels.0).unwrap();
        config.page_size = Some(self.page_size);
        Forwarder::new(config, Arc::clone(&self.methods.0))
    }

    /// Starts everything.
    pub(crate) fn start(self, forwarder: &Forwarder) -> Result<RelayRig<'_>, Error> {
        let (here, middle, in_taps) = connections(self.channels.0, &self.in_link);
        for connection in middle {
            forwarder.accept(connection)?;
        }
        let source = guest::memory(self.page_size, &self.blocks);
        let target = guest::memory(self.page_size, &self.blocks);
        let sender = Sender::start(&self.sender, source.clone(), &self.methods.0, here)?;

        let mut config = self.receiver;
        config.channels = ChannelCount::new(self.channels.1).unwrap();
        config.page_size = Some(self.page_size);
        let receiver = Receiver::new(config, Arc::clone(&self.methods.1));
        let (middle, there, out_taps) = connections(self.channels.1, &self.out_link);
        for connection in there {
            receiver.accept(connection)?;
        }
        let uuid = forwarder.wait_uuid(Duration::from_secs(30))?;
        let forwarding = forwarder.start(uuid, &self.methods.1, middle)?;
        let ends = Ends {
            sender,
            receiver,
            source,
            target,
            in_taps,
            out_taps,
        };
        Ok(RelayRig { ends, forwarding })
    }
}

impl RelayRig<'_> {
    /// The first sync point: nobody knows the memory before it.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.ends.sender.sync()?;
        self.forwarding.attach(blocks(&self.ends.source))?;
        self.forwarding.sync()?;
        self.ends.receiver.attach(self.ends.target.clone())?;
        self.ends.receiver.sync()
    }

    /// A sync point.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.ends.sender.sync()?;
        self.forwarding.sync()?;
        self.ends.receiver.sync()
    }

    /// Queues every page of the source.
    pub(crate) fn queue_all(&mut self) -> Result<(), Error> {
        for (block, offset) in guest::pages(&self.ends.source) {
            self.ends.sender.queue(block, offset)?;
        }
        Ok(())
    }

    /// Ends everything; answers what was sent, passed on and received.
    pub(crate) fn finish(
        mut self,
    ) -> Result<(MigrationStats, ForwardStats, MigrationStats), Error> {
        let passed_on = self.forwarding.finish()?;
        let sent = self.ends.sender.finish()?;
        Ok((sent, passed_on, self.ends.receiver.finish()?))
    }
}

/// A guest's blocks, as a main channel announces them.
pub(crate) fn blocks(memory: &GuestMemory) -> Vec<(BlockName, u64)> {
    let blocks = memory.blocks().iter();
    blocks
        .map(|block| (block.name().clone(), block.len()))
        .collect()
}

type Connections = Vec<Box<dyn Transport>>;

/// Connections from a side that sends to a side that receives.
fn connections(count: u8, link: &dyn Fn(u8) -> Link) -> (Connections, Connections, Vec<Tap>) {
    let mut sending: Connections = Vec::new();
    let mut receiving: Connections = Vec::new();
    let mut taps = Vec::new();
    for channel in 0..count {
        let (first, second, tap) = network::pair(link(channel), Link::default());
        sending.push(Box::new(first));
        receiving.push(Box::new(second));
        taps.push(tap.forth);
    }
    (sending, receiving, taps)
}
