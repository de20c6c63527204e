// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source, relays and a destination with networks between them, each on a thread of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multifd_core::memory::Mapping;
use multifd_core::transport::Transport;
use multifd_core::wire::{BlockName, Uuid};
use multifd_core::{
    AbortHandle, ChannelCount, ChannelId, DeviceState, Error, GuestMemory, MethodFactory,
    MethodOptions, MultifdMethods, PageSize, RamBlock,
};
use multifd_migration::source::GuestAfter;
use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
use multifd_migration::{
    Connections, Destination, DestinationConfig, DestinationFailure, DestinationHost, HostError,
    Relay, RelayConfig, RelayHandle, RelayHost, RelayReport, Report, RunState, Source,
    SourceConfig, SourceHandle, Work,
};
use multifd_tests::conformance::{Kind, PageSource};
use multifd_tests::network::{self, Endpoint, Link, Taps};
use parking_lot::Mutex;

/// Which method, and how many channels, go over one hop.
pub(crate) type Hop = (&'static str, u8);

/// How a connection behaves, forth and back. Given the hop, and the connection: 0 is the main one.
pub(crate) type Links = Box<dyn Fn(usize, usize) -> (Link, Link)>;

/// A migration through relays.
pub(crate) struct Setup {
    /// From the source to the first relay, and so on.
    pub(crate) hops: Vec<Hop>,
    pub(crate) blocks: Vec<(&'static str, usize)>,
    pub(crate) source: SourceConfig,
    pub(crate) relay: RelayConfig,
    pub(crate) destination: DestinationConfig,
    pub(crate) return_path: bool,
    pub(crate) links: Links,
    /// What the destination says in the end.
    pub(crate) verdict: Result<(), &'static str>,
    /// Whether it can start the guest.
    pub(crate) starts: Result<(), &'static str>,
    pub(crate) seed: u64,
    /// How long the destination takes to make its memory.
    pub(crate) memory_takes: Duration,
    /// How long the destination writes to a disk.
    pub(crate) disk_takes: Duration,
    /// The sending end of a hop uses this method instead.
    pub(crate) other_method: Option<(usize, &'static str)>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) source: Result<Report, Failed>,
    pub(crate) relays: Vec<Result<RelayReport, Error>>,
    pub(crate) destination: Result<Report, DestinationFailure>,
    /// Whether the destination got all of the guest.
    pub(crate) complete: bool,
    pub(crate) devices: Option<Tail>,
    pub(crate) device_packets: Vec<DeviceState>,
    pub(crate) from: GuestMemory,
    pub(crate) to: GuestMemory,
    /// The main connections of all hops.
    pub(crate) main: Vec<Taps>,
}

/// Parts of a migration that runs.
pub(crate) struct Running {
    pub(crate) source: Option<SourceHandle>,
    pub(crate) relays: Vec<AbortHandle>,
    pub(crate) handles: Vec<RelayHandle>,
    pub(crate) destination: AbortHandle,
    /// Every connection: hop by hop, the main one first.
    pub(crate) taps: Vec<Vec<Taps>>,
}

pub(crate) fn method(name: &str) -> Arc<dyn MultifdMethods> {
    let options = MethodOptions::new();
    match name {
        "none" => multifd_none::NoneFactory.open(&options),
        "zlib" => multifd_zlib::ZlibFactory.open(&options),
        "zstd" => multifd_zstd::ZstdFactory.open(&options),
        "qatzip" => multifd_qatzip::QatzipFactory.open(&options),
        _ => panic!("no method {name}"),
    }
    .unwrap()
}

impl Setup {
    pub(crate) fn new(hops: &[Hop]) -> Self {
        Self {
            hops: hops.to_vec(),
            blocks: vec![("pc.ram", 500), ("/rom@etc/acpi/tables", 33), ("one", 1)],
            source: SourceConfig::default(),
            relay: RelayConfig::default(),
            destination: DestinationConfig::default(),
            return_path: true,
            links: Box::new(|_, _| (Link::default(), Link::default())),
            verdict: Ok(()),
            starts: Ok(()),
            seed: 1,
            memory_takes: Duration::ZERO,
            disk_takes: Duration::ZERO,
            other_method: None,
        }
    }

    /// Relays and destination wait no longer for their source to show itself: one whose connections broke before
    /// that is taken for a stranger, and there is no other to come.
    pub(crate) fn wait_for_source(&mut self, limit: Duration) {
        self.relay.wait = Some(limit);
        self.destination.wait = Some(limit);
    }

    /// The method with which a hop is sent.
    fn sends(&self, hop: usize) -> Arc<dyn MultifdMethods> {
        let other = self.other_method.filter(|(other, _)| *other == hop);
        method(other.map_or(self.hops[hop].0, |(_, name)| name))
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        self.run_with(|_| ())
    }

    /// Runs it to its end, and `meanwhile` beside it.
    pub(crate) fn run_with(self, meanwhile: impl FnOnce(Running) + Send) -> Outcome {
        let from = memory(&self.blocks);
        let to = memory(&self.blocks);
        fill(&from, self.seed);
        let mut hops: Vec<_> = (0..self.hops.len()).map(|hop| self.connect(hop)).collect();
        let taps: Vec<Vec<Taps>> = hops.iter().map(|hop| hop.taps.clone()).collect();

        let (last_method, last_channels) = *self.hops.last().unwrap();
        let device_packets = Arc::new(Mutex::new(Vec::new()));
        let mut config = self.destination.clone();
        config.receiver.channels = ChannelCount::new(last_channels).unwrap();
        config.receiver.memory_is_zeroed = true;
        let sink = Arc::clone(&device_packets);
        config.receiver.device_state = Some(Arc::new(move |state| {
            sink.lock().push(state);
            Ok(())
        }));
        let destination = Destination::new(config, method(last_method));
        for end in hops.last_mut().unwrap().there.drain(..) {
            destination.accept(Box::new(end)).unwrap();
        }
        let relays: Vec<_> = (0..self.hops.len() - 1)
            .map(|at| {
                let mut config = self.relay.clone();
                config.forwarder.channels = ChannelCount::new(self.hops[at].1).unwrap();
                config.outgoing_channels = ChannelCount::new(self.hops[at + 1].1).unwrap();
                let relay = Relay::new(config, method(self.hops[at].0), self.sends(at + 1));
                for end in hops[at].there.drain(..) {
                    relay.accept(Box::new(end)).unwrap();
                }
                relay
            })
            .collect();
        let mut ends = hops.into_iter().map(|hop| hop.here);
        let connections = connections(ends.next().unwrap(), self.return_path);
        let source = Source::new(
            self.source.clone(),
            from.clone(),
            self.sends(0),
            connections,
        );
        let running = Running {
            source: source.as_ref().ok().map(Source::handle),
            relays: relays.iter().map(Relay::abort_handle).collect(),
            handles: relays.iter().map(Relay::handle).collect(),
            destination: destination.abort_handle(),
            taps: taps.clone(),
        };
        let mut host = Host {
            memory: to.clone(),
            memory_takes: self.memory_takes,
            disk_takes: self.disk_takes,
            verdict: self.verdict,
            starts: self.starts,
            complete: false,
            devices: None,
        };
        let (source, relays, received) = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                let result = destination.run(&mut host);
                // What it has not read is closed with it.
                drop(destination);
                result
            });
            let relaying: Vec<_> = relays
                .into_iter()
                .zip(ends)
                .map(|(relay, ends)| {
                    scope.spawn(move || relay.run(&mut Onward(ends.into())).map_err(Error::from))
                })
                .collect();
            scope.spawn(|| meanwhile(running));
            let source = source
                .map_err(|error| (error, GuestAfter::Here))
                .and_then(|source| {
                    source
                        .run_stopped()
                        .map_err(|failed| (failed.error, failed.guest))
                })
                .map_err(|(error, guest)| Failed { error, guest });
            let relays: Vec<_> = relaying
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect();
            (source, relays, receiving.join().unwrap())
        });
        let device_packets = device_packets.lock().clone();
        Outcome {
            source,
            relays,
            destination: received,
            complete: host.complete,
            devices: host.devices,
            device_packets,
            from,
            to,
            main: taps.into_iter().map(|hop| hop[0].clone()).collect(),
        }
    }

    fn connect(&self, hop: usize) -> HopEnds {
        let mut ends = HopEnds {
            here: Vec::new(),
            there: Vec::new(),
            taps: Vec::new(),
        };
        for connection in 0..=usize::from(self.hops[hop].1) {
            let (forth, back) = (self.links)(hop, connection);
            let (here, there, taps) = network::pair(forth, back);
            ends.here.push(here);
            ends.there.push(there);
            ends.taps.push(taps);
        }
        ends
    }
}

impl Outcome {
    /// The guest is at the destination, all of it, and everybody says so.
    #[track_caller]
    pub(crate) fn assert_migrated(&self) {
        self.source.as_ref().unwrap();
        for relay in &self.relays {
            relay.as_ref().unwrap();
        }
        self.destination.as_ref().unwrap();
        assert!(self.complete);
        self.assert_same_memory();
    }

    #[track_caller]
    pub(crate) fn assert_same_memory(&self) {
        for (from, to) in self.from.blocks().iter().zip(self.to.blocks()) {
            let len = usize::try_from(from.len()).unwrap();
            let mut contents = [vec![0; len], vec![0; len]];
            from.span(0, len).unwrap().copy_to(&mut contents[0]);
            to.span(0, len).unwrap().copy_to(&mut contents[1]);
            assert!(contents[0] == contents[1], "{from:?} differs");
        }
    }

    /// Nobody thinks that the guest is at the destination.
    #[track_caller]
    pub(crate) fn assert_failed(&self) {
        assert!(self.source.is_err());
        assert!(self.destination.is_err());
        for relay in &self.relays {
            assert!(relay.is_err());
        }
    }

    /// The error of the first relay.
    #[track_caller]
    pub(crate) fn relay_error(&self) -> String {
        self.relays[0].as_ref().unwrap_err().to_string()
    }
}

struct HopEnds {
    here: Vec<Endpoint>,
    there: Vec<Endpoint>,
    taps: Vec<Taps>,
}

/// Why a source failed, and where its guest is then.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) guest: GuestAfter,
}

/// A destination.
struct Host {
    memory: GuestMemory,
    memory_takes: Duration,
    disk_takes: Duration,
    verdict: Result<(), &'static str>,
    starts: Result<(), &'static str>,
    complete: bool,
    devices: Option<Tail>,
}

impl DestinationHost for Host {
    fn memory(
        &mut self,
        _configuration: &Configuration,
        _blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        thread::sleep(self.memory_takes);
        Ok(self.memory.clone())
    }

    fn work(&self) -> Work {
        Work::WritingToDisk
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        thread::sleep(self.disk_takes);
        self.verdict?;
        self.complete = true;
        self.devices = Some(devices.clone());
        Ok(())
    }

    fn start(&mut self, _: RunState) -> Result<(), HostError> {
        Ok(self.starts?)
    }
}

/// The connections of a relay to the next one, the main one first.
pub(crate) struct Onward(pub(crate) VecDeque<Endpoint>);

impl RelayHost for Onward {
    fn connect(
        &mut self,
        _uuid: Uuid,
        _channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        Ok(Box::new(self.0.pop_front().ok_or("nobody is there")?))
    }
}

pub(crate) fn connections(mut ends: Vec<Endpoint>, return_path: bool) -> Connections {
    let main = ends.remove(0);
    let channels = ends.into_iter().map(|end| Box::new(end) as _).collect();
    match return_path {
        true => Connections::new(Box::new(main), channels).unwrap(),
        false => Connections::one_way(Box::new(main), channels),
    }
}

fn memory(blocks: &[(&str, usize)]) -> GuestMemory {
    let blocks = blocks.iter().map(|(name, pages)| {
        let region = Mapping::anonymous(pages * 4096).unwrap();
        RamBlock::new(BlockName::new(name).unwrap(), Arc::new(region)).unwrap()
    });
    GuestMemory::new(PageSize::X86, blocks.collect()).unwrap()
}

fn fill(memory: &GuestMemory, seed: u64) {
    let mut random = PageSource::new(seed);
    let mut page = vec![0; 4096];
    for block in memory.blocks() {
        for offset in (0..block.len()).step_by(page.len()) {
            let kind = Kind::ALL[random.below(Kind::ALL.len())];
            random.fill(kind, &mut page);
            block.span(offset, page.len()).unwrap().copy_from(&page);
        }
    }
}

/// No test waits for so long.
pub(crate) const FOREVER: Duration = Duration::from_secs(600);
