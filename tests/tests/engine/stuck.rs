// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The host's code does not come back, and nothing waits for it for ever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::wire::Uuid;
use multifd_core::{
    ChannelCount, Error, Fault, Forwarder, ForwarderConfig, MultifdMethods, PageSize, Receiver,
    ReceiverConfig, Sender, SenderConfig, Spawn, ThreadKind,
};
use multifd_tests::network::{self, Link, Watchdog};

use crate::bench::Bench;
use crate::guest;
use crate::rig;
use crate::scripted::Scripted;
use crate::stream;
use crate::threads::Gate;

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_sink_of_device_state() {
    let _watchdog = Watchdog::start();
    let gate = Arc::new(Gate::closed());
    let mut config = ReceiverConfig::default();
    config.limits.threads = SHORT;
    let stuck = Arc::clone(&gate);
    config.device_state = Some(Arc::new(move |_| {
        stuck.pass();
        Ok(())
    }));
    let bench = Bench::with(1, config);
    let bytes = [
        stream::init(0),
        stream::sync(),
        stream::device_state("vfio", b"state"),
        stream::sync(),
    ];
    let _source = bench.connect(&bytes.concat()).unwrap();
    bench.attach();
    bench.receiver.sync().unwrap();
    gate.wait_for(1);
    bench.receiver.abort_handle().abort();
    assert_eq!(bench.receiver.sync().unwrap_err().fault(), Fault::Aborted);
    bench.receiver.settle(None, SHORT);
    drop(bench);
    gate.open();
}

#[test]
fn a_method_that_is_never_set_up_at_the_source() {
    let _watchdog = Watchdog::start();
    let gate = Arc::new(Gate::closed());
    let method = Arc::new(Scripted {
        setup_gate: Arc::clone(&gate),
        ..Scripted::default()
    });
    let mut config = SenderConfig::default();
    config.limits.set_up = SHORT;
    config.limits.threads = SHORT;
    let memory = guest::memory(PageSize::X86, &[("ram", 16)]);
    let (here, _there, _) = network::pair(Link::default(), Link::default());
    let error = Sender::start(&config, memory, &(method as _), vec![Box::new(here)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "source: the method is not set up on 1 channels after 0.05 s"
    );
    gate.open();
}

/// The side of a relay that sends, with nothing but a connection to it.
fn start_onward(config: ForwarderConfig, method: Arc<dyn MultifdMethods>) -> Error {
    let forwarder = Forwarder::new(config, rig::none());
    let (here, _there, _) = network::pair(Link::default(), Link::default());
    let started = forwarder.start(Uuid::default(), &method, vec![Box::new(here)]);
    started.map(drop).unwrap_err()
}

#[test]
fn a_method_that_is_never_set_up_at_a_relay() {
    let _watchdog = Watchdog::start();
    let gate = Arc::new(Gate::closed());
    let method = Arc::new(Scripted {
        setup_gate: Arc::clone(&gate),
        ..Scripted::default()
    });
    let mut config = ForwarderConfig::default();
    config.limits.set_up = SHORT;
    config.limits.threads = SHORT;
    assert_eq!(
        start_onward(config, method).to_string(),
        "relay, destination side: the method is not set up on 1 channels after 0.05 s"
    );
    gate.open();
}

#[test]
fn a_method_that_is_never_set_up_at_the_destination() {
    let _watchdog = Watchdog::start();
    let gate = Arc::new(Gate::closed());
    let method = Arc::new(Scripted {
        setup_gate: Arc::clone(&gate),
        ..Scripted::default()
    });
    let mut config = ReceiverConfig::default();
    config.channels = ChannelCount::new(1).unwrap();
    config.limits.sync = SHORT;
    config.limits.threads = SHORT;
    let receiver = Receiver::new(config, method);
    let (mut source, there, _) = network::pair(Link::default(), Link::default());
    multifd_core::transport::send_all(&mut source, &mut [stream::init(0).as_slice().into()])
        .unwrap();
    receiver.accept(Box::new(there)).unwrap();
    let error = receiver.sync().unwrap_err();
    assert_eq!(
        error.to_string(),
        "destination: no SYNC from channel 0 within 0.05 s"
    );
    receiver.finish().unwrap_err();
    drop(receiver);
    gate.open();
}

/// Drops what it is to run.
struct Forgetful;

impl Spawn for Forgetful {
    fn spawn(&self, _: ThreadKind, _: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_host_that_starts_no_thread() {
    let _watchdog = Watchdog::start();
    let mut config = SenderConfig::default();
    config.limits.set_up = Duration::MAX;
    config.threads = Arc::new(Forgetful);
    let memory = guest::memory(PageSize::X86, &[("ram", 16)]);
    let (here, _there, _) = network::pair(Link::default(), Link::default());
    let error = Sender::start(&config, memory, &rig::none(), vec![Box::new(here)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "source: the host has dropped a channel's thread"
    );
    let mut config = ForwarderConfig::default();
    config.limits.set_up = Duration::MAX;
    config.threads = Arc::new(Forgetful);
    assert_eq!(
        start_onward(config, rig::none()).to_string(),
        "relay, destination side: the host has dropped a channel's thread"
    );
}
