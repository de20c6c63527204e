// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What comes behind the last barrier, when the main channel has ended memory.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use multifd_core::transport::send_all;
use multifd_core::{Error, Fault, ReceiverConfig};
use multifd_tests::network::{Endpoint, Watchdog};

use crate::bench::Bench;
use crate::stream::{self, PAGE};

const WHY: &str = "pages behind the last SYNC, wanted none: the main channel has ended memory";

/// All channels have met once, with nothing behind that.
fn begin(bench: &Bench, channels: u8) -> Vec<Endpoint> {
    let sources = (0..channels).map(|channel| {
        let first = [stream::init(channel), stream::sync()].concat();
        bench.connect(&first).unwrap()
    });
    let sources = sources.collect();
    bench.attach();
    bench.receiver.sync().unwrap();
    sources
}

fn send(source: &mut Endpoint, bytes: &[u8]) {
    // It may be refused, and the connection closed, before the last byte is sent.
    let _ = send_all(source, &mut [bytes.into()]);
}

/// The migration's error, once it has failed.
fn failed(bench: &Bench) -> Error {
    loop {
        match bench.receiver.abort_handle().error() {
            Some(error) => return error,
            None => thread::yield_now(),
        }
    }
}

#[test]
fn a_page_is_refused_before_it_is_written() {
    let _watchdog = Watchdog::start();
    for packet in [
        stream::packet(&[0x1000], &[]),
        stream::packet(&[], &[0x1000]),
    ] {
        let bench = Bench::new(2);
        let mut sources = begin(&bench, 2);
        bench.receiver.end_memory().unwrap();
        send(&mut sources[1], &packet);
        let error = failed(&bench);
        assert_eq!(error.fault(), Fault::Peer);
        assert_eq!(
            error.to_string(),
            format!("destination, channel 1, packet 1, block \"ram\": {WHY}")
        );
        assert_eq!(bench.page(1), [0xee; PAGE]);
        let text = bench.receiver.finish().unwrap_err().to_string();
        assert_eq!(text, error.to_string());
    }
}

/// Behind the last barrier, but before the end of memory was read.
#[test]
fn a_page_that_has_come_is_found() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1);
    let mut sources = begin(&bench, 1);
    send(&mut sources[0], &stream::packet(&[], &[0x1000]));
    while bench.receiver.stats().total().zero_pages == 0 {
        thread::yield_now();
    }
    let error = bench.receiver.end_memory().unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(error.to_string(), format!("destination: {WHY}"));
    assert_eq!(failed(&bench).to_string(), error.to_string());
    bench.receiver.finish().unwrap_err();
}

#[test]
fn one_more_barrier_does_not_begin_it_again() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1);
    let mut sources = begin(&bench, 1);
    bench.receiver.end_memory().unwrap();
    send(&mut sources[0], &stream::sync());
    bench.receiver.sync().unwrap();
    send(&mut sources[0], &stream::packet(&[], &[0x1000]));
    assert!(failed(&bench).to_string().contains(WHY));
}

/// A device's state may be the last that comes.
#[test]
fn device_state_is_taken() {
    let _watchdog = Watchdog::start();
    let (take, taken) = mpsc::channel();
    let mut config = ReceiverConfig::default();
    config.device_state = Some(Arc::new(move |state| Ok(take.send(state.data)?)));
    let bench = Bench::with(1, config);
    let mut sources = begin(&bench, 1);
    bench.receiver.end_memory().unwrap();
    for state in [b"one", b"two"] {
        send(&mut sources[0], &stream::device_state("vfio", state));
        let got = taken.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(got, state);
    }
    // What brings nothing changes nothing.
    let empty = stream::packet(&[], &[]);
    send(&mut sources[0], &empty);
    send(&mut sources[0], &stream::device_state("vfio", b"three"));
    taken.recv_timeout(Duration::from_secs(60)).unwrap();
    bench.receiver.finish().unwrap();
}
