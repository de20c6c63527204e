// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that end before their time.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use multifd_core::transport::{Transport as _, send_all};
use multifd_core::{Error, Fault, ReceiverConfig};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{self, Ending, Link, Pieces, Watchdog};

use crate::bench::Bench;
use crate::guest;
use crate::rig::{Rig, Setup};
use crate::stream::{self, HEADER, PAGE};

/// A whole small migration of one channel.
fn channel() -> Vec<u8> {
    [
        stream::init(0),
        stream::sync(),
        stream::packet(&[0x3000], &[0x2000]),
        stream::sync(),
    ]
    .concat()
}

/// Where packets start and end.
const INIT: usize = 64;
const BORDERS: [usize; 3] = [INIT, INIT + HEADER, INIT + 2 * HEADER + PAGE];

/// Receives what comes of `channel` over the link.
fn receive(channel: &[u8], link: Link) -> (Bench, Result<(), Error>) {
    let bench = Bench::new(1);
    let (mut source, destination, _) = network::pair(link, Link::default());
    // Nothing arrives after the cut.
    let _ = send_all(&mut source, &mut [channel.into()]);
    drop(source);
    bench.receiver.accept(Box::new(destination)).unwrap();
    let result = bench
        .receiver
        .attach(bench.target.clone())
        .and_then(|()| bench.receiver.sync())
        .and_then(|()| bench.receiver.sync())
        .and_then(|()| bench.receiver.finish().map(drop));
    (bench, result)
}

/// Receives as much of `channel` as comes over the link, which is less than the initial packet. Answers why
/// the connection was closed; the channel comes again then, and all is well.
fn receive_twice(channel: &[u8], link: Link) -> String {
    let bench = Bench::new(1);
    let (mut source, destination, _) = network::pair(link, Link::default());
    // Nothing arrives after the cut.
    let _ = send_all(&mut source, &mut [channel.into()]);
    drop(source);
    bench.receiver.accept(Box::new(destination)).unwrap();
    let why = bench.wait_strangers(1);
    bench.attach();
    let _source = bench.connect(channel).unwrap();
    bench.receiver.sync().unwrap();
    bench.receiver.sync().unwrap();
    bench.receiver.finish().unwrap();
    assert_eq!(bench.page(3), [4; PAGE]);
    why
}

#[test]
fn a_destination_survives_an_end_at_any_byte() {
    let _watchdog = Watchdog::start();
    let channel = channel();
    for cut in 0..channel.len() {
        let link = Link::default().cut_after(cut as u64, Ending::Eof);
        if cut < INIT {
            let why = receive_twice(&channel, link);
            assert_eq!(why, format!("it ended after {cut} bytes"));
            continue;
        }
        let (bench, result) = receive(&channel, link);
        let error = result.unwrap_err();
        assert_eq!(error.fault(), Fault::Connection);
        let text = error.to_string();
        if BORDERS.contains(&cut) {
            assert_eq!(
                text,
                "destination, channel 0: the source closed the connection before its next SYNC",
                "{cut}"
            );
        } else {
            assert!(
                text.ends_with("the peer closed the connection in the middle of a packet"),
                "{cut}: {text}"
            );
        }
        // Pages arrive as the method reads them; a page that is only listed as zero waits for all
        // that comes before it.
        if cut < BORDERS[2] {
            assert_eq!(bench.page(2), [0xee; PAGE], "{cut}");
        }
    }
    let (bench, result) = receive(&channel, Link::default());
    result.unwrap();
    assert_eq!(bench.page(2), [0; PAGE]);
    assert_eq!(bench.page(3), [4; PAGE]);
}

#[test]
fn a_destination_survives_a_reset_at_any_byte() {
    let _watchdog = Watchdog::start();
    let channel = channel();
    for cut in (0..channel.len()).step_by(5) {
        let link = Link::default().cut_after(cut as u64, Ending::Reset);
        if cut < INIT {
            let why = receive_twice(&channel, link);
            assert_eq!(why, "it failed: connection reset");
            continue;
        }
        let error = receive(&channel, link).1.unwrap_err();
        assert_eq!(error.fault(), Fault::Connection);
        assert!(
            error
                .to_string()
                .ends_with("the peer closed the connection (connection reset)"),
            "{cut}: {error}"
        );
    }
}

#[test]
fn errors_of_a_connection_are_passed_on() {
    let _watchdog = Watchdog::start();
    let channel = channel();
    for cut in [0, 10, 64, 100, 64 + HEADER + 5, 64 + 2 * HEADER + 3] {
        let link = Link::default().recv_error(cut as u64, ErrorKind::PermissionDenied);
        if cut < INIT {
            let why = receive_twice(&channel, link);
            assert_eq!(why, "it failed: permission denied");
            continue;
        }
        let error = receive(&channel, link).1.unwrap_err();
        assert_eq!(error.fault(), Fault::Connection);
        assert!(error.to_string().ends_with("permission denied"), "{error}");
    }
}

/// The source sends three rounds over a connection that ends after `cut` bytes.
fn send(cut: u64, ending: Ending) -> Result<(), Error> {
    let mut setup = Setup::new(1);
    setup.blocks = vec![("ram", 4)];
    setup.link = Box::new(move |_| Link::default().cut_after(cut, ending));
    let mut rig = setup.start()?;
    let pages = guest::pages(&rig.source);
    guest::write(&rig.source, pages[1], b"content");
    rig.sender.sync()?;
    rig.queue_all()?;
    rig.sender.sync()?;
    rig.sender.wait_sent()?;
    rig.sender.finish().map(drop)
}

#[test]
fn a_source_survives_an_end_at_any_byte() {
    let _watchdog = Watchdog::start();
    // The receiver is not attached, so it takes the first SYNC and no more; the rest is buffered.
    let whole = (64 + 3 * HEADER + PAGE) as u64;
    let all = (0..2 * 64).chain((2 * 64..whole).step_by(37));
    for cut in all.chain([whole - 1]) {
        for ending in [Ending::Eof, Ending::Reset] {
            let error = send(cut, ending).unwrap_err();
            assert_eq!(error.fault(), Fault::Connection, "{error}");
            let text = error.to_string();
            assert!(
                text.starts_with("source, channel 0")
                    && text.contains("the peer closed the connection ("),
                "{cut}: {text}"
            );
        }
    }
    send(whole, Ending::Eof).unwrap();
}

/// One of several channels is cut off; all of them end, on both sides.
#[test]
fn one_channel_takes_all_with_it() {
    let _watchdog = Watchdog::start();
    for seed in 0..60 {
        let mut random = PageSource::new(seed);
        let victim = random.below(4) as u8;
        let cut = random.below(300_000) as u64;
        let ending = [Ending::Eof, Ending::Reset][random.below(2)];
        let mut setup = Setup::new(4);
        setup.link = Box::new(move |channel| {
            let link = Link::default().receives(Pieces::Random(seed));
            match channel == victim {
                true => link.cut_after(cut, ending),
                false => link,
            }
        });
        let error = match setup.start() {
            Err(error) => error,
            Ok(mut rig) => {
                let pages = guest::pages(&rig.source);
                guest::fill(&rig.source, &pages, &mut random);
                let error = rounds(&mut rig).unwrap_err();
                // Whoever did not fail itself fails now.
                drop(rig.receiver);
                let sender = rig.sender.finish().unwrap_err();
                assert_eq!(sender.fault(), Fault::Connection, "{sender}");
                error
            }
        };
        assert_eq!(error.fault(), Fault::Connection, "seed {seed}: {error}");
    }
}

fn rounds(rig: &mut Rig) -> Result<Infallible, Error> {
    rig.begin()?;
    loop {
        rig.queue_all()?;
        rig.sync()?;
    }
}

#[test]
fn a_silent_connection_is_given_up() {
    let _watchdog = Watchdog::start();
    let mut config = ReceiverConfig::default();
    config.limits.init = Duration::from_millis(1);
    for sent in [0, 3, 4, 63] {
        let bench = Bench::with(1, config.clone());
        let mut source = bench.connect(&stream::init(0)[..sent]).unwrap();
        assert_eq!(
            bench.wait_strangers(1),
            format!("it sent only {sent} bytes within 0.001 s")
        );
        source.send(&[b"x".as_slice().into()]).unwrap_err();
        bench.receiver.finish().unwrap();
    }
}

/// A byte now and then is not enough: the limit is for the whole initial packet.
#[test]
fn a_slow_connection_is_given_up() {
    let _watchdog = Watchdog::start();
    let mut config = ReceiverConfig::default();
    config.limits.init = Duration::from_millis(60);
    let bench = Bench::with(1, config);
    let mut source = bench.connect(b"").unwrap();
    let sending = thread::spawn(move || {
        for byte in stream::init(0) {
            if send_all(&mut source, &mut [[byte].as_slice().into()]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(3));
        }
    });
    let why = bench.wait_strangers(1);
    assert!(why.starts_with("it sent only"), "{why}");
    bench.receiver.finish().unwrap();
    sending.join().unwrap();
}

#[test]
fn channels_that_do_not_come_to_a_sync() {
    let _watchdog = Watchdog::start();
    let mut config = ReceiverConfig::default();
    config.limits.sync = Duration::from_millis(500);
    let bench = Bench::with(4, config);
    let _sources = [1, 2].map(|id| {
        let sync = [stream::init(id), stream::sync()].concat();
        bench.connect(&sync).unwrap()
    });
    let error = bench.receiver.sync().unwrap_err();
    assert_eq!(error.fault(), Fault::Connection);
    assert_eq!(
        error.to_string(),
        "destination: no SYNC from channel 0, 3 within 0.5 s; only 2 of 4 channels are \
         connected: is multifd-channels the same on both sides?"
    );
    bench.receiver.finish().unwrap_err();
}
