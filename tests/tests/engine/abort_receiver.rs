// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A destination that is aborted, dropped, or fails, in every state that it can be in.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport, send_all};
use multifd_core::{ChannelCount, Error, Fault, GuestMemory, PageSize, Receiver, ReceiverConfig};
use multifd_tests::network::{self, Endpoint, Link, Tap, Watchdog};

use crate::guest;
use crate::scripted::{Failure, Scripted};
use crate::stream;
use crate::threads::{Alive, Gate, Threads};

const CHANNELS: u8 = 3;
const FOREVER: Duration = Duration::MAX;
const ABORTED: &str = "migration aborted";

/// A destination and what there is besides it.
struct Destination {
    receiver: Arc<Receiver>,
    taps: Vec<Tap>,
    peers: Vec<Endpoint>,
    connections: Alive,
    method: Arc<Scripted>,
    threads: Arc<Threads>,
}

impl Destination {
    fn new() -> Self {
        Self::with(Scripted::default(), Threads::default())
    }

    fn with(method: Scripted, threads: Threads) -> Self {
        let (method, threads) = (Arc::new(method), Arc::new(threads));
        let mut config = ReceiverConfig::default();
        config.channels = ChannelCount::new(CHANNELS).unwrap();
        config.threads = Arc::clone(&threads) as _;
        Self {
            receiver: Arc::new(Receiver::new(config, Arc::clone(&method) as _)),
            taps: Vec::new(),
            peers: Vec::new(),
            connections: Alive::default(),
            method,
            threads,
        }
    }

    /// A connection on which the source sends `bytes`.
    fn connect(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let link = Link::default().capacity(1 << 20);
        let (mut here, there, taps) = network::pair(link, Link::default());
        send_all(&mut here, &mut [bytes.into()]).unwrap();
        self.peers.push(here);
        self.taps.push(taps.forth);
        self.receiver.accept(self.connections.watch(there))
    }

    /// Connections of all channels, with what they send after their initial packet.
    fn connect_all(&mut self, packets: &[u8]) {
        for channel in 0..CHANNELS {
            self.connect(&[&stream::init(channel), packets].concat())
                .unwrap();
        }
    }

    /// Waits until every channel has read all that there is, and waits for more.
    fn wait_blocked(&self) {
        for tap in &self.taps {
            tap.wait_received(tap.sent());
            tap.wait_receiver_blocked();
        }
    }

    /// Every call answers the error.
    fn assert_failed(&mut self, text: &str) {
        let results = [
            self.receiver.sync(),
            self.receiver.wait_main(FOREVER).map(drop),
            self.receiver.attach(memory()),
            self.receiver.zero_page(guest::pages(&memory())[0].0, 0),
            self.receiver.abort_handle().sleep(FOREVER),
            self.receiver.finish().map(drop),
            self.connect(&stream::init(0)),
        ];
        for (call, result) in results.into_iter().enumerate() {
            let error = result.expect_err(&format!("call {call}"));
            assert_eq!(error.to_string(), text, "call {call}");
        }
    }

    /// Drops the receiver: nothing of it is left then, no connection, no state of a method, no
    /// thread.
    #[track_caller]
    fn assert_gone(self, threads: usize) {
        assert_eq!(Arc::strong_count(&self.receiver), 1);
        drop(self.receiver);
        assert_eq!(self.connections.count(), 0);
        assert_eq!(self.method.alive.count(), 0);
        assert_eq!(self.threads.join(), threads);
    }
}

fn memory() -> GuestMemory {
    guest::memory(PageSize::X86, &[("ram", 16)])
}

#[test]
fn without_connections() {
    let _watchdog = Watchdog::start();
    let mut destination = Destination::new();
    destination.receiver.abort_handle().abort();
    destination.assert_failed(ABORTED);
    destination.assert_gone(0);
}

/// The host waits in one thread and aborts from another one; whoever comes first.
#[test]
fn while_the_host_waits() {
    let _watchdog = Watchdog::start();
    for round in 0..100 {
        let mut destination = Destination::new();
        if round % 2 == 0 {
            destination.connect(&stream::init(1)).unwrap();
        }
        let receiver = Arc::clone(&destination.receiver);
        let waiting = thread::spawn(move || match round % 3 {
            0 => receiver.sync(),
            1 => receiver.wait_main(FOREVER).map(drop),
            _ => receiver.abort_handle().sleep(FOREVER),
        });
        if round % 5 == 0 {
            thread::yield_now();
        }
        destination.receiver.abort_handle().abort();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.to_string(), ABORTED);
        destination.assert_failed(ABORTED);
        destination.assert_gone(usize::from(round % 2 == 0));
    }
}

#[test]
fn while_connections_are_silent() {
    let _watchdog = Watchdog::start();
    for sent in [0, 2, 4, 40] {
        let mut destination = Destination::new();
        for channel in 0..CHANNELS {
            destination.connect(&stream::init(channel)[..sent]).unwrap();
        }
        destination.wait_blocked();
        destination.receiver.abort_handle().abort();
        destination.assert_failed(ABORTED);
        destination.assert_gone(3);
    }
}

#[test]
fn while_channels_receive() {
    let _watchdog = Watchdog::start();
    for (packets, len) in [
        (Vec::new(), 0),
        (stream::sync(), 11),
        (stream::sync(), 12),
        (stream::sync(), 1000),
        (stream::packet(&[0, 0x3000], &[]), 1344),
        (stream::packet(&[0, 0x3000], &[]), 1344 + 6000),
    ] {
        let mut destination = Destination::new();
        destination.receiver.attach(memory()).unwrap();
        destination.connect_all(&packets[..len]);
        destination.wait_blocked();
        destination.receiver.abort_handle().abort();
        destination.receiver.sync().unwrap_err();
        destination.assert_gone(3);
    }
}

#[test]
fn while_channels_are_parked() {
    let _watchdog = Watchdog::start();
    let mut destination = Destination::new();
    destination.connect_all(&stream::sync());
    destination.receiver.sync().unwrap();
    for peer in &mut destination.peers[..2] {
        send_all(peer, &mut [stream::sync().as_slice().into()]).unwrap();
    }
    for tap in &destination.taps[..2] {
        tap.wait_received(tap.sent());
    }
    destination.receiver.abort_handle().abort();
    destination.assert_failed(ABORTED);
    destination.assert_gone(3);
}

#[test]
fn while_the_method_works() {
    let _watchdog = Watchdog::start();
    let gate = Arc::new(Gate::closed());
    let method = Scripted {
        packet_gate: Arc::clone(&gate),
        ..Scripted::default()
    };
    let mut destination = Destination::with(method, Threads::default());
    destination.receiver.attach(memory()).unwrap();
    destination.connect_all(&stream::packet(&[0], &[]));
    gate.wait_for(3);
    destination.receiver.abort_handle().abort();
    destination.receiver.sync().unwrap_err();
    let (connections, method) = (
        destination.connections.clone(),
        Arc::clone(&destination.method),
    );
    let waiting = thread::spawn(move || destination.assert_gone(3));
    // A method is not interrupted; the threads end when it answers.
    assert_eq!((connections.count(), method.alive.count()), (3, 3));
    gate.open();
    waiting.join().unwrap();
}

#[test]
fn dropped_in_any_state() {
    let _watchdog = Watchdog::start();
    let sync = stream::sync();
    for packets in [&[][..], &sync[..5], &sync[..], &sync.repeat(3)] {
        for attached in [false, true] {
            for main in [false, true] {
                let mut destination = Destination::new();
                if attached {
                    destination.receiver.attach(memory()).unwrap();
                }
                if main {
                    destination.connect(b"QEVM").unwrap();
                }
                destination.connect_all(packets);
                if packets.len() < sync.len() && !main {
                    destination.wait_blocked();
                }
                destination.assert_gone(3 + usize::from(main));
            }
        }
    }
}

#[test]
fn the_set_up_fails() {
    let _watchdog = Watchdog::start();
    for channel in 0..CHANNELS {
        for (failure, fault, text) in [
            (
                Failure::Device,
                Fault::Device,
                format!("destination, channel {channel}: scripted: the device is gone"),
            ),
            (
                Failure::Panic,
                Fault::Caller,
                "a channel's thread panicked".to_owned(),
            ),
        ] {
            let method = Scripted {
                setup: Some((channel, failure)),
                ..Scripted::default()
            };
            let mut destination = Destination::with(method, Threads::default());
            let refused =
                (0..CHANNELS).find(|channel| destination.connect(&stream::init(*channel)).is_err());
            // Also the first that comes after the failure, which lingers.
            let started = usize::from(refused.map_or(CHANNELS, |channel| channel + 1));
            let error = destination.receiver.sync().unwrap_err();
            assert_eq!(error.fault(), fault);
            assert!(error.to_string().ends_with(&text), "{error}");
            destination.assert_gone(started);
        }
    }
}

#[test]
fn while_the_set_up_takes_its_time() {
    let _watchdog = Watchdog::start();
    let gate = Arc::new(Gate::closed());
    let method = Scripted {
        setup_gate: Arc::clone(&gate),
        ..Scripted::default()
    };
    let mut destination = Destination::with(method, Threads::default());
    destination.connect_all(&stream::sync());
    gate.wait_for(3);
    destination.receiver.abort_handle().abort();
    assert_eq!(
        destination.receiver.sync().unwrap_err().to_string(),
        ABORTED
    );
    let waiting = thread::spawn(move || destination.assert_gone(3));
    gate.open();
    waiting.join().unwrap();
}

/// The host is still busy with the thread of a channel: nothing is read before it is done.
#[test]
fn while_the_host_prepares_a_thread() {
    let _watchdog = Watchdog::start();
    let threads = Threads {
        ready: Gate::closed(),
        ..Threads::default()
    };
    let mut destination = Destination::with(Scripted::default(), threads);
    destination.connect_all(&stream::sync());
    destination.threads.ready.wait_for(3);
    for tap in &destination.taps {
        assert_eq!(tap.received(), 64);
    }
    destination.receiver.abort_handle().abort();
    destination.threads.ready.open();
    destination.assert_gone(3);
}

#[test]
fn the_host_refuses_a_thread() {
    let _watchdog = Watchdog::start();
    for channel in 0..CHANNELS {
        let threads = Threads {
            refuses: Some(channel),
            ..Threads::default()
        };
        let mut destination = Destination::with(Scripted::default(), threads);
        destination
            .connect(&[stream::init(channel), stream::sync()].concat())
            .unwrap();
        let text = format!(
            "destination, channel {channel}: \
             the host refused the thread multifd-recv-{channel}: no filter for this thread"
        );
        let error = destination.receiver.sync().unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        destination.assert_failed(&text);
        destination.assert_gone(1);
    }
}

#[test]
fn a_thread_cannot_be_started() {
    let _watchdog = Watchdog::start();
    for thread in 0..usize::from(CHANNELS) {
        let threads = Threads {
            fails_at: Some(thread),
            ..Threads::default()
        };
        let mut destination = Destination::with(Scripted::default(), threads);
        for channel in 0..thread {
            destination.connect(&stream::init(channel as u8)).unwrap();
        }
        let error = destination.connect(&stream::init(2)).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        let text = "destination: cannot start a channel's thread: out of memory";
        assert_eq!(error.to_string(), text);
        assert!(!destination.receiver.is_complete());
        destination.assert_failed(text);
        destination.assert_gone(thread);
    }
}

#[test]
fn memory_that_cannot_be_attached() {
    let _watchdog = Watchdog::start();
    let destination = Destination::new();
    let other = guest::memory(PageSize::new(8192).unwrap(), &[("ram", 1)]);
    assert_eq!(
        destination.receiver.attach(other).unwrap_err().to_string(),
        "destination: guest memory with pages of 8192 bytes, wanted 4096"
    );
    destination.receiver.attach(memory()).unwrap();
    assert_eq!(
        destination
            .receiver
            .attach(memory())
            .unwrap_err()
            .to_string(),
        "destination: guest memory was attached already"
    );
    destination.receiver.finish().unwrap();
    destination.assert_gone(0);
}

#[test]
fn the_main_channel_is_handed_over_once() {
    let _watchdog = Watchdog::start();
    let mut destination = Destination::new();
    destination.connect(b"QEVMrest").unwrap();
    let mut main = destination.receiver.wait_main(FOREVER).unwrap();
    let mut rest = [0; 8];
    assert_eq!(main.recv(&mut [rest.as_mut_slice().into()]).unwrap(), 4);
    assert_eq!(&rest[..4], b"rest");
    let error = destination.receiver.wait_main(FOREVER).err().unwrap();
    assert_eq!(error.fault(), Fault::Caller);
    assert_eq!(
        error.to_string(),
        "destination: the main channel was handed over already"
    );
    // The end of the migration interrupts it, wherever it is.
    destination.receiver.abort_handle().abort();
    let error = main.recv(&mut [rest.as_mut_slice().into()]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    drop(main);
    destination.assert_gone(1);
}

/// The source is still sending when the destination has all that it wants.
#[test]
fn finished_in_the_middle() {
    let _watchdog = Watchdog::start();
    for len in [0, 5, 1344, 1344 + 100] {
        let mut destination = Destination::new();
        destination.receiver.attach(memory()).unwrap();
        destination.connect_all(&stream::packet(&[0], &[])[..len]);
        destination.wait_blocked();
        let stats = destination.receiver.finish().unwrap();
        assert_eq!(stats.total().packets, 0);
        assert_eq!(stats.total().wire_bytes, 3 * 64);
        let late = destination.connect(&stream::init(0)).unwrap_err();
        assert_eq!(late.fault(), Fault::Aborted);
        destination.assert_gone(3);
    }
}

/// The host ends the migration in one thread while it accepts a connection in another one.
#[test]
fn finished_while_a_connection_is_accepted() {
    let _watchdog = Watchdog::start();
    for aborts in [false, true] {
        let destination = Destination::new();
        let (_peer, there, _) = network::pair(Link::default(), Link::default());
        let (receiver, finishing) = (&destination.receiver, Arc::clone(&destination.receiver));
        let there = Ending {
            connection: there,
            end: Box::new(move || {
                if aborts {
                    finishing.abort_handle().abort();
                }
                finishing.finish().map(drop)
            }),
        };
        let error = receiver
            .accept(destination.connections.watch(there))
            .unwrap_err();
        assert_eq!(error.to_string(), ABORTED);
        destination.assert_gone(0);
    }
}

/// A connection on which the migration ends while it is accepted.
struct Ending {
    connection: Endpoint,
    end: Box<dyn Fn() -> Result<(), Error> + Send>,
}

impl Transport for Ending {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.connection.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        self.connection.recv(room)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        // Whether the migration failed does not matter here.
        let _ = (self.end)();
        self.connection.interrupter()
    }
}

#[test]
fn the_first_error_is_the_error() {
    let _watchdog = Watchdog::start();
    let mut destination = Destination::new();
    destination.connect_all(&stream::sync());
    let handle = destination.receiver.abort_handle();
    handle.fail(Error::new(Fault::Peer, "the main channel says nonsense"));
    handle.abort();
    destination.assert_failed("the main channel says nonsense");
    destination.assert_gone(3);
}
