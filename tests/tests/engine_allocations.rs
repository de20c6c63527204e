// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A running channel allocates nothing, however many packets it sends or receives.
//!
//! This is the only test of its program: it counts the allocations of all threads.

#![allow(
    unsafe_code,
    reason = "an allocator that counts is unsafe to implement"
)]
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the test are tests too, which clippy.toml cannot tell"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use multifd_core::engine::Forwarding;
use multifd_core::memory::{BlockIndex, Mapping};
use multifd_core::transport::Transport;
use multifd_core::wire::{BlockName, Uuid};
use multifd_core::{
    AdaptConfig, ChannelCount, Error, Forwarder, ForwarderConfig, GuestMemory, MethodOptions,
    MultifdMethods, PageSize, RamBlock, Receiver, ReceiverConfig, Sender, SenderConfig,
};
use multifd_tests::host;
use multifd_tests::network::{self, Link, Watchdog};

const PAGES: usize = 4096;
const CHANNELS: u8 = 2;
const ROUNDS: usize = 8;

#[test]
fn more_packets_take_no_more_allocations() {
    let registry = host::registry().unwrap();
    for name in registry.names() {
        let method = registry.open(name, &MethodOptions::new()).unwrap();
        few_and_many(name, Migration::start(&method));
        if method.ladder().len() > 1 {
            let what = format!("{name}, adapting");
            few_and_many(&what, Migration::start_adapting(&method));
        }
    }
    let none = registry.open("none", &MethodOptions::new()).unwrap();
    let forwarder = Migration::forwarder(&none);
    few_and_many(
        "through a relay",
        Migration::start_through(&forwarder, &none),
    );
}

fn few_and_many(what: &str, mut migration: Migration<'_>) {
    let _watchdog = Watchdog::start();
    // Everybody has waited for everybody else once.
    migration.rounds(PAGES);
    let few = migration.rounds(128);
    let many = migration.rounds(PAGES);
    // The same number of sync points, but 32 packets between them instead of one.
    assert!(
        many <= few + 16,
        "{what}: {many} allocations for {} packets, {few} for {ROUNDS}",
        ROUNDS * PAGES / 128
    );
    migration.finish();
}

struct Migration<'f> {
    sender: Sender,
    forwarding: Option<Forwarding<'f>>,
    receiver: Receiver,
    block: BlockIndex,
}

impl<'f> Migration<'f> {
    fn start(method: &Arc<dyn MultifdMethods>) -> Self {
        let receiver = receiver(method);
        let connections = connections(|end| receiver.accept(end));
        Self::over(connections, None, receiver, method)
    }

    fn start_adapting(method: &Arc<dyn MultifdMethods>) -> Self {
        let receiver = receiver(method);
        let connections = connections(|end| receiver.accept(end));
        let mut config = SenderConfig::default();
        config.adapt = Some(AdaptConfig::default());
        Self::configured(&config, connections, None, receiver, method)
    }

    fn forwarder(method: &Arc<dyn MultifdMethods>) -> Forwarder {
        let mut config = ForwarderConfig::default();
        config.channels = ChannelCount::new(CHANNELS).unwrap();
        Forwarder::new(config, Arc::clone(method))
    }

    /// The same, with a relay between the two.
    fn start_through(forwarder: &'f Forwarder, method: &Arc<dyn MultifdMethods>) -> Self {
        let receiver = receiver(method);
        let onward = connections(|end| receiver.accept(end));
        let uuid = Uuid::default();
        let forwarding = forwarder.start(uuid, method, onward).unwrap();
        let connections = connections(|end| forwarder.accept(end));
        Self::over(connections, Some(forwarding), receiver, method)
    }

    fn over(
        connections: Vec<Box<dyn Transport>>,
        forwarding: Option<Forwarding<'f>>,
        receiver: Receiver,
        method: &Arc<dyn MultifdMethods>,
    ) -> Self {
        Self::configured(
            &SenderConfig::default(),
            connections,
            forwarding,
            receiver,
            method,
        )
    }

    fn configured(
        config: &SenderConfig,
        connections: Vec<Box<dyn Transport>>,
        mut forwarding: Option<Forwarding<'f>>,
        receiver: Receiver,
        method: &Arc<dyn MultifdMethods>,
    ) -> Self {
        let (source, target) = (memory(), memory());
        let (block, ram) = source.indexed().next().unwrap();
        // Every third page is zero, so that there are many runs, and all of the code runs.
        for page in (0..PAGES as u64).filter(|page| page % 3 > 0) {
            ram.span(page * 4096, 8).unwrap().copy_from(b"content.");
        }
        let mut sender = Sender::start(config, source.clone(), method, connections).unwrap();
        sender.sync().unwrap();
        if let Some(forwarding) = &mut forwarding {
            let blocks = source.blocks().iter();
            let blocks = blocks.map(|block| (block.name().clone(), block.len()));
            forwarding.attach(blocks.collect()).unwrap();
            forwarding.sync().unwrap();
        }
        receiver.attach(target).unwrap();
        receiver.sync().unwrap();
        Self {
            sender,
            forwarding,
            receiver,
            block,
        }
    }

    /// Sends the first `pages` pages in every round; answers how often memory was allocated.
    fn rounds(&mut self, pages: usize) -> usize {
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..ROUNDS {
            for page in 0..pages as u64 {
                self.sender.queue(self.block, page * 4096).unwrap();
            }
            self.sender.sync().unwrap();
            if let Some(forwarding) = &mut self.forwarding {
                forwarding.sync().unwrap();
            }
            self.receiver.sync().unwrap();
        }
        self.sender.wait_sent().unwrap();
        ALLOCATIONS.load(Ordering::SeqCst) - before
    }

    fn finish(self) {
        let sent = self.sender.finish().unwrap().total();
        assert!(sent.normal_pages > 0 && sent.zero_pages > 0);
        let received = self.receiver.finish().unwrap().total();
        assert_eq!(received.packets, sent.packets);
    }
}

fn receiver(method: &Arc<dyn MultifdMethods>) -> Receiver {
    let mut config = ReceiverConfig::default();
    config.channels = ChannelCount::new(CHANNELS).unwrap();
    Receiver::new(config, Arc::clone(method))
}

/// Connections whose other ends are accepted.
fn connections(
    accept: impl Fn(Box<dyn Transport>) -> Result<(), Error>,
) -> Vec<Box<dyn Transport>> {
    let mut connections: Vec<Box<dyn Transport>> = Vec::new();
    for _ in 0..CHANNELS {
        let (here, there, _) = network::pair(Link::default(), Link::default());
        connections.push(Box::new(here));
        accept(Box::new(there)).unwrap();
    }
    connections
}

fn memory() -> GuestMemory {
    let region = Arc::new(Mapping::anonymous(PAGES * 4096).unwrap());
    let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
    GuestMemory::new(PageSize::X86, vec![block]).unwrap()
}

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, counted.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}
