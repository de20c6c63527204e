// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that are not the source's.

use std::time::Duration;

use multifd_core::transport::{Transport, send_all};
use multifd_core::{Fault, ReceiverConfig};
use multifd_tests::network::{Endpoint, Watchdog};

use crate::bench::Bench;
use crate::stream::{self, PAGE, put};

/// What somebody else says, and why that is not the source.
pub(crate) fn strangers() -> Vec<(Vec<u8>, &'static str)> {
    let mut magic = stream::init(0);
    put(&mut magic, 0, 0x1122_3300);
    let mut version = stream::init(0);
    put(&mut version, 4, 0);
    vec![
        (
            b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
            "it began with \"GET \" as no migration does",
        ),
        (
            [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].to_vec(),
            "it looks like TLS",
        ),
        (magic, r#"it began with "\x11\"3\x00" as no migration does"#),
        (
            version,
            "its initial packet was wrong: multifd version 0, wanted 1",
        ),
        (
            vec![0; 64],
            "it began with \"\\x00\\x00\\x00\\x00\" as no migration does",
        ),
    ]
}

/// Whether the destination has closed its end.
fn is_closed(peer: &mut Endpoint) -> bool {
    !matches!(peer.recv(&mut [[0].as_mut_slice().into()]), Ok(1..))
}

/// A migration of two channels comes to its end.
fn migrates(bench: &Bench, sources: &mut [Endpoint]) {
    let mut main = bench.receiver.wait_main(Duration::from_secs(30)).unwrap();
    bench.wait_complete();
    let page = [stream::packet(&[0x3000], &[0x2000]), stream::sync()].concat();
    for source in &mut *sources {
        send_all(source, &mut [stream::sync().as_slice().into()]).unwrap();
    }
    bench.attach();
    bench.receiver.sync().unwrap();
    send_all(&mut sources[0], &mut [page.as_slice().into()]).unwrap();
    send_all(&mut sources[1], &mut [stream::sync().as_slice().into()]).unwrap();
    bench.receiver.sync().unwrap();
    let stats = bench.receiver.finish().unwrap();
    assert_eq!(stats.total().normal_pages, 1);
    assert_eq!(bench.page(3), [4; PAGE]);
    // It was the main connection that was handed over.
    main.recv(&mut [[0].as_mut_slice().into()]).unwrap_err();
}

#[test]
fn they_do_not_matter_before_the_source_comes() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(2);
    for (count, (bytes, why)) in (1..).zip(strangers()) {
        let mut stranger = bench.connect(&bytes).unwrap();
        assert_eq!(bench.wait_strangers(count), why);
        assert!(is_closed(&mut stranger));
        assert!(!bench.receiver.is_complete());
    }
    let mut sources = [0, 1].map(|id| bench.connect(&stream::init(id)).unwrap());
    let _main = bench.connect(b"QEVM").unwrap();
    migrates(&bench, &mut sources);
}

#[test]
fn they_do_not_matter_between_its_connections() {
    let _watchdog = Watchdog::start();
    for (bytes, why) in strangers() {
        let bench = Bench::new(2);
        let _main = bench.connect(b"QEVM").unwrap();
        let first = bench.connect(&stream::init(1)).unwrap();
        let _port_check = bench.connect(b"").map(drop);
        bench.wait_strangers(1);
        let _stranger = bench.connect(&bytes).unwrap();
        assert_eq!(bench.wait_strangers(2), why);
        let silent = bench.connect(b"QEV").unwrap();
        assert!(!bench.receiver.is_complete());
        let last = bench.connect(&stream::init(0)).unwrap();
        migrates(&bench, &mut [last, first]);
        drop(silent);
    }
}

/// The first one of each keeps its place.
#[test]
fn what_is_there_already_is_not_taken_again() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(2);
    let mut first = bench.connect(&stream::init(0)).unwrap();
    bench.receiver.wait_source(None).unwrap();
    let mut again = bench.connect(&stream::init(0)).unwrap();
    assert_eq!(
        bench.wait_strangers(1),
        "its initial packet was wrong: channel number 0 is used twice"
    );
    assert!(is_closed(&mut again));
    let _main = bench.connect(b"QEVM").unwrap();
    let mut second = bench.connect(&stream::init(1)).unwrap();
    bench.wait_complete();
    let mut main = bench.connect(b"QEVM").unwrap();
    assert_eq!(
        bench.wait_strangers(2),
        "there was a main connection already"
    );
    assert!(is_closed(&mut main));
    let mut sources = [first, second];
    migrates(&bench, &mut sources);
    [first, second] = sources;
    drop((first, second));
}

/// As many as a source may make at once have room, and no silent one keeps its place from others.
#[test]
fn only_so_many_may_be_silent() {
    let _watchdog = Watchdog::start();
    let mut config = ReceiverConfig::default();
    config.limits.init = Duration::MAX;
    let bench = Bench::with(2, config);
    let mut silent: Vec<_> = (0..320).map(|_| bench.connect(b"").unwrap()).collect();
    assert_eq!(bench.receiver.strangers().count, 0);
    // The main connection of a QEMU is silent until its channels are there.
    let mut main = bench.connect(b"").unwrap();
    assert_eq!(
        bench.wait_strangers(1),
        "it had not identified itself when too many others came"
    );
    assert!(is_closed(&mut silent[0]));
    let mut sources = [0, 1].map(|id| bench.connect(&stream::init(id)).unwrap());
    send_all(&mut main, &mut [b"QEVM".as_slice().into()]).unwrap();
    migrates(&bench, &mut sources);
    drop(silent);
}

#[test]
fn who_waits_in_vain_is_told_of_them() {
    let _watchdog = Watchdog::start();
    let limit = Some(Duration::from_millis(1));
    let bench = Bench::new(2);
    let error = bench.receiver.wait_source(limit).unwrap_err();
    assert_eq!(error.fault(), Fault::Connection);
    assert_eq!(
        error.to_string(),
        "destination: no source connected within 0.001 s"
    );
    assert_eq!(
        bench.receiver.finish().unwrap_err().to_string(),
        error.to_string()
    );

    let bench = Bench::new(2);
    let _stranger = bench.connect(&strangers()[1].0).unwrap();
    bench.wait_strangers(1);
    let error = bench.receiver.wait_source(limit).unwrap_err();
    assert_eq!(
        error.to_string(),
        "destination: no source connected within 0.001 s; one other connection was closed: \
         it looks like TLS"
    );

    let bench = Bench::new(2);
    let _channel = bench.connect(&stream::init(0)).unwrap();
    for count in 1..3 {
        let _stranger = bench.connect(&strangers()[0].0).unwrap();
        bench.wait_strangers(count);
    }
    let error = bench.receiver.wait_main(Duration::from_millis(1));
    assert_eq!(
        error.err().unwrap().to_string(),
        "destination: channels, but no main connection within 0.001 s; 2 other connections were \
         closed, the last one because it began with \"GET \" as no migration does"
    );
}

/// Only the source's first connection starts the clock of the others.
#[test]
fn they_start_no_clock() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1);
    let (bytes, _) = &strangers()[0];
    let _stranger = bench.connect(bytes).unwrap();
    bench.wait_strangers(1);
    std::thread::scope(|scope| {
        let main = scope.spawn(|| bench.receiver.wait_main(Duration::from_secs(30)));
        let since = std::time::Instant::now();
        let _source = bench.connect(&stream::init(0)).unwrap();
        assert!(bench.receiver.wait_source(None).unwrap() >= since);
        assert!(!main.is_finished());
        let _main = bench.connect(b"QEVM").unwrap();
        main.join().unwrap().unwrap();
    });
}
