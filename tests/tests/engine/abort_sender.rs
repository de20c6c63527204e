// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source that is aborted, dropped, or fails, in every state that it can be in.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multifd_core::transport::{Transport, recv_all};
use multifd_core::{DeviceState, Error, Fault, GuestMemory, PageSize, Sender, SenderConfig};
use multifd_tests::network::{self, Endpoint, Link, Tap, Watchdog};

use crate::guest;
use crate::scripted::{Failure, Scripted};
use crate::threads::{Alive, Gate, Threads};

/// A source whose destination takes nothing.
struct Source {
    threads: Arc<Threads>,
    method: Arc<Scripted>,
    link: Link,
    channels: u8,
    destination_time_limit: Duration,
}

/// What there is besides the sender.
struct Rest {
    taps: Vec<Tap>,
    peers: Vec<Endpoint>,
    connections: Alive,
    method: Arc<Scripted>,
    threads: Arc<Threads>,
}

impl Source {
    fn new() -> Self {
        Self {
            threads: Arc::default(),
            method: Arc::default(),
            link: Link::default().capacity(1 << 20),
            channels: 3,
            destination_time_limit: Duration::MAX,
        }
    }

    /// Makes connections, and what starts a sender on them.
    fn prepare(self) -> (impl FnOnce() -> Result<Sender, Error> + Send, Rest) {
        let mut config = SenderConfig::default();
        config.threads = Arc::clone(&self.threads) as _;
        config.zero_pages = false;
        config.limits.destination = self.destination_time_limit;
        let mut rest = Rest {
            taps: Vec::new(),
            peers: Vec::new(),
            connections: Alive::default(),
            method: Arc::clone(&self.method),
            threads: self.threads,
        };
        let mut connections = Vec::new();
        for _ in 0..self.channels {
            let (here, there, taps) = network::pair(self.link.clone(), Link::default());
            connections.push(rest.connections.watch(here));
            rest.peers.push(there);
            rest.taps.push(taps.forth);
        }
        let method = self.method as _;
        let start = move || Sender::start(&config, memory(), &method, connections);
        (start, rest)
    }

    fn start(self) -> (Sender, Rest) {
        let (start, rest) = self.prepare();
        (start().unwrap(), rest)
    }
}

impl Rest {
    /// Nothing of the sender is left: no connection, no state of a method, no thread.
    #[track_caller]
    fn assert_gone(self, threads: usize) {
        assert_eq!(self.connections.count(), 0);
        assert_eq!(self.method.alive.count(), 0);
        assert_eq!(self.threads.join(), threads);
    }
}

fn memory() -> GuestMemory {
    guest::memory(PageSize::X86, &[("ram", 2000)])
}

fn queue_all(sender: &mut Sender) -> Result<(), Error> {
    let (block, _) = guest::pages(sender.memory())[0];
    sender.queue_run(block, 0, 2000)
}

/// Every call answers the error.
fn assert_failed(mut sender: Sender, text: &str) {
    let (block, _) = guest::pages(sender.memory())[0];
    let state = DeviceState::new("vfio", 0, vec![1]);
    let results = [
        sender.queue(block, 0),
        sender.flush(),
        sender.sync(),
        sender.device_state(state),
        sender.wait_sent(),
        sender.abort_handle().sleep(Duration::MAX),
        sender.finish().map(drop),
    ];
    for (call, result) in results.into_iter().enumerate() {
        let error = result.expect_err(&format!("call {call}"));
        assert_eq!(error.to_string(), text, "call {call}");
    }
}

const ABORTED: &str = "migration aborted";

#[test]
fn while_it_has_nothing_to_do() {
    let _watchdog = Watchdog::start();
    for synced in [false, true] {
        let (mut sender, rest) = Source::new().start();
        if synced {
            sender.sync().unwrap();
            sender.wait_sent().unwrap();
        }
        sender.abort_handle().abort();
        assert_failed(sender, ABORTED);
        rest.assert_gone(3);
    }
}

#[test]
fn while_queueing_waits_for_a_channel() {
    let _watchdog = Watchdog::start();
    let mut source = Source::new();
    source.link = Link::default().capacity(10_000);
    let (mut sender, rest) = source.start();
    sender.sync().unwrap();
    let abort = sender.abort_handle();
    let taps = rest.taps.clone();
    let aborter = thread::spawn(move || {
        for tap in taps {
            tap.wait_sender_blocked();
        }
        abort.abort();
    });
    let error = loop {
        if let Err(error) = queue_all(&mut sender) {
            break error;
        }
    };
    assert_eq!(error.fault(), Fault::Aborted);
    aborter.join().unwrap();
    assert_failed(sender, ABORTED);
    rest.assert_gone(3);
}

#[test]
fn while_a_barrier_or_the_end_is_waited_for() {
    let _watchdog = Watchdog::start();
    for what in 0..3 {
        let mut source = Source::new();
        source.link = Link::default().capacity(100);
        let (mut sender, rest) = source.start();
        sender.sync().unwrap();
        let abort = sender.abort_handle();
        let taps = rest.taps.clone();
        let aborter = thread::spawn(move || {
            for tap in taps {
                tap.wait_sender_blocked();
            }
            abort.abort();
        });
        let error = match what {
            0 => sender.sync().unwrap_err(),
            1 => sender.wait_sent().unwrap_err(),
            _ => sender.finish().unwrap_err(),
        };
        assert_eq!(error.to_string(), ABORTED);
        aborter.join().unwrap();
        if what < 2 {
            // It was moved otherwise.
            rest.threads.join();
        }
        assert_eq!(rest.method.alive.count(), 0);
        assert_eq!(rest.connections.count(), 0);
    }
}

#[test]
fn while_the_method_works() {
    let _watchdog = Watchdog::start();
    let mut source = Source::new();
    let gate = Arc::new(Gate::closed());
    source.method = Arc::new(Scripted {
        packet_gate: Arc::clone(&gate),
        ..Scripted::default()
    });
    let (mut sender, rest) = source.start();
    sender.sync().unwrap();
    let (block, _) = guest::pages(sender.memory())[0];
    sender.queue_run(block, 0, 3 * 128).unwrap();
    gate.wait_for(3);
    sender.abort_handle().abort();
    // A method is not interrupted; the threads end when it answers.
    let waiting = thread::spawn(move || drop(sender));
    assert_eq!(rest.method.alive.count(), 3);
    gate.open();
    waiting.join().unwrap();
    rest.assert_gone(3);
}

#[test]
fn dropped_in_any_state() {
    let _watchdog = Watchdog::start();
    for (capacity, syncs, queues) in [
        (1 << 20, false, false),
        (1 << 20, true, false),
        (1 << 20, true, true),
        (64, true, false),
        (64 + 1344 + 10, true, true),
    ] {
        let mut source = Source::new();
        source.link = Link::default().capacity(capacity);
        let (mut sender, rest) = source.start();
        if syncs {
            sender.sync().unwrap();
        }
        if queues {
            let (block, _) = guest::pages(sender.memory())[0];
            // Less than what there are batches for, so that this does not wait.
            sender.queue_run(block, 0, 5 * 128 + 3).unwrap();
        }
        if capacity < 1 << 20 {
            for tap in &rest.taps {
                tap.wait_sender_blocked();
            }
        }
        drop(sender);
        rest.assert_gone(3);
    }
}

#[test]
fn the_set_up_fails() {
    let _watchdog = Watchdog::start();
    for channel in 0..3 {
        for (failure, fault, text) in [
            (
                Failure::Device,
                Fault::Device,
                format!("source, channel {channel}: scripted: the device is gone"),
            ),
            (
                Failure::Panic,
                Fault::Caller,
                "a channel's thread panicked".to_owned(),
            ),
        ] {
            let mut source = Source::new();
            source.method = Arc::new(Scripted {
                setup: Some((channel, failure)),
                ..Scripted::default()
            });
            let (start, rest) = source.prepare();
            let error = start().unwrap_err();
            assert_eq!(error.fault(), fault);
            assert!(error.to_string().ends_with(&text), "{error}");
            rest.assert_gone(3);
        }
    }
}

#[test]
fn the_set_up_takes_its_time() {
    let _watchdog = Watchdog::start();
    for fails in [false, true] {
        let gate = Arc::new(Gate::closed());
        let mut source = Source::new();
        source.method = Arc::new(Scripted {
            setup: fails.then_some((1, Failure::Device)),
            setup_gate: Arc::clone(&gate),
            ..Scripted::default()
        });
        let (start, rest) = source.prepare();
        let starting = thread::spawn(start);
        gate.wait_for(3);
        assert!(rest.taps.iter().all(|tap| tap.sent() == 0));
        gate.open();
        assert_eq!(starting.join().unwrap().is_err(), fails);
        rest.assert_gone(3);
    }
}

#[test]
fn the_host_refuses_a_thread() {
    let _watchdog = Watchdog::start();
    for channel in 0..3 {
        let mut source = Source::new();
        source.threads = Arc::new(Threads {
            refuses: Some(channel),
            ..Threads::default()
        });
        let (start, rest) = source.prepare();
        let error = start().unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(
            error.to_string(),
            format!(
                "source, channel {channel}: \
                 the host refused the thread multifd-send-{channel}: no filter for this thread"
            )
        );
        // A channel that is refused has sent nothing.
        assert_eq!(rest.taps[usize::from(channel)].sent(), 0);
        rest.assert_gone(3);
    }
}

#[test]
fn a_thread_cannot_be_started() {
    let _watchdog = Watchdog::start();
    for thread in 0..3 {
        let mut source = Source::new();
        source.threads = Arc::new(Threads {
            fails_at: Some(thread),
            ..Threads::default()
        });
        let (start, rest) = source.prepare();
        let error = start().unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(
            error.to_string(),
            format!("source, channel {thread}: cannot start the channel's thread: out of memory")
        );
        rest.assert_gone(thread);
    }
}

/// Nobody reads the initial packet: whoever has the connections' interrupters can end that.
#[test]
fn while_it_starts() {
    let _watchdog = Watchdog::start();
    let (here, _there, taps) = network::pair(Link::default().capacity(10), Link::default());
    let interrupter = here.interrupter();
    let starting = thread::spawn(move || {
        let method = Arc::new(Scripted::default()) as _;
        let config = SenderConfig::default();
        Sender::start(&config, memory(), &method, vec![Box::new(here)])
    });
    taps.forth.wait_sender_blocked();
    interrupter.interrupt();
    let error = starting.join().unwrap().unwrap_err();
    assert_eq!(error.fault(), Fault::Aborted);
}

#[test]
fn connections_that_cannot_be() {
    let _watchdog = Watchdog::start();
    for count in [0, 256] {
        let connections = (0..count).map(|_| {
            let (here, _, _) = network::pair(Link::default(), Link::default());
            Box::new(here) as Box<dyn Transport>
        });
        let method = Arc::new(Scripted::default()) as _;
        let config = SenderConfig::default();
        let error = Sender::start(&config, memory(), &method, connections.collect()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("source: {count} multifd connections, wanted 1 to 255")
        );
    }
}

#[test]
fn the_first_error_is_the_error() {
    let _watchdog = Watchdog::start();
    let (sender, rest) = Source::new().start();
    let handle = sender.abort_handle();
    assert!(handle.error().is_none());
    handle.fail(Error::new(Fault::Connection, "the main channel is gone"));
    handle.fail(Error::new(Fault::Peer, "something else"));
    handle.abort();
    assert_eq!(handle.error().unwrap().fault(), Fault::Connection);
    assert_failed(sender, "the main channel is gone");
    rest.assert_gone(3);
}

#[test]
fn an_abort_interrupts_what_is_watched() {
    let _watchdog = Watchdog::start();
    let (sender, _rest) = Source::new().start();
    let handle = sender.abort_handle();
    for early in [true, false] {
        let (mut main, _peer, taps) = network::pair(Link::default(), Link::default());
        let interrupter = main.interrupter();
        if early {
            handle.watch(Arc::clone(&interrupter));
        }
        let reading = thread::spawn(move || main.recv(&mut [[0; 4].as_mut_slice().into()]));
        taps.back.wait_receiver_blocked();
        if early {
            handle.abort();
        } else {
            handle.watch(interrupter);
        }
        let error = reading.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    }
}

#[test]
fn an_abort_after_the_end_does_nothing() {
    let _watchdog = Watchdog::start();
    let (mut sender, rest) = Source::new().start();
    sender.sync().unwrap();
    let handle = sender.abort_handle();
    sender.finish().unwrap();
    handle.abort();
    assert!(handle.error().is_none());
    // Everything that was sent is there, and then the end.
    let peers = rest.peers.len();
    for mut peer in rest.peers {
        let mut room = vec![0; 64 + 1344];
        assert!(
            multifd_core::transport::recv_all(&mut peer, &mut [room.as_mut_slice().into()])
                .unwrap()
        );
        assert_eq!(peer.recv(&mut [room.as_mut_slice().into()]).unwrap(), 0);
    }
    assert_eq!(peers, 3);
}

/// A destination that is there and takes nothing is given up, whatever the host waits for.
#[test]
fn while_nothing_is_taken() {
    let _watchdog = Watchdog::start();
    for wait in [queue_all, Sender::wait_sent] {
        let mut source = Source::new();
        source.destination_time_limit = Duration::from_millis(10);
        let (mut sender, rest) = source.start();
        sender.sync().unwrap();
        let (block, _) = guest::pages(sender.memory())[0];
        sender.queue_run(block, 0, 6 * 128).unwrap();
        let error = wait(&mut sender).unwrap_err();
        let text = "source: the destination has read nothing for 0.01 s";
        assert_eq!(
            (error.fault(), error.to_string().as_str()),
            (Fault::Connection, text)
        );
        assert_failed(sender, text);
        rest.assert_gone(3);
    }
}

/// A slow destination is not given up: it is waited for far longer than the limit, but takes something in between.
#[test]
fn while_little_is_taken() {
    let _watchdog = Watchdog::start();
    let mut source = Source::new();
    source.channels = 1;
    source.destination_time_limit = Duration::from_secs(1);
    let (mut sender, mut rest) = source.start();
    thread::scope(|scope| {
        scope.spawn(|| {
            let packet = &mut vec![0; 1344 + (512 << 10)];
            for _ in 0..22 {
                thread::sleep(Duration::from_millis(120));
                let room = &mut [packet.as_mut_slice().into()];
                // The last packets are smaller, so that the end may come.
                let _ = recv_all(&mut rest.peers[0], room);
            }
        });
        sender.sync().unwrap();
        queue_all(&mut sender).unwrap();
        sender.wait_sent().unwrap();
        sender.finish().unwrap();
    });
    rest.assert_gone(1);
}
