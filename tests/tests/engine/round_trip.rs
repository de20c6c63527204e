// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is sent arrives, and is counted.

use std::sync::{Arc, Mutex};
use std::thread;

use multifd_core::{ChannelStats, DeviceState, Fault, PageSize};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{Link, Pieces, Watchdog};

use crate::guest;
use crate::rig::{Rig, Setup};

/// Several blocks, one of them a single page; none of them whole packets.
const BLOCKS: [(&str, usize); 3] = [("pc.ram", 300), ("/rom@etc/acpi/tables", 33), ("one", 1)];

#[test]
fn any_number_of_channels() {
    let _watchdog = Watchdog::start();
    for channels in [1, 2, 4, 16, 255] {
        let mut setup = Setup::new(channels);
        setup.blocks = BLOCKS.to_vec();
        setup.seed = channels.into();
        three_rounds(setup.start().unwrap());
    }
}

#[test]
fn any_page_size() {
    let _watchdog = Watchdog::start();
    for bytes in [8192, 16384, 32768, 65536] {
        let mut setup = Setup::new(3);
        setup.page_size = PageSize::new(bytes).unwrap();
        setup.blocks = vec![("ram", 40), ("rom", 3)];
        three_rounds(setup.start().unwrap());
    }
}

#[test]
fn networks_that_give_little_at_a_time() {
    let _watchdog = Watchdog::start();
    for seed in 0..14 {
        let mut setup = Setup::new(2);
        setup.blocks = vec![("ram", 140), ("rom", 2)];
        setup.link = Box::new(move |channel| {
            let random = |end| Pieces::Random(4 * seed + 2 * u64::from(channel) + end);
            Link::default()
                .capacity(1 << (4 + 2 * (seed % 7)))
                .sends(random(0))
                .receives(random(1))
        });
        three_rounds(setup.start().unwrap());
    }
}

#[test]
fn networks_that_give_one_byte_at_a_time() {
    let _watchdog = Watchdog::start();
    for (capacity, sends, receives) in [
        (1, Pieces::Whole, Pieces::Whole),
        (1 << 16, Pieces::Of(1), Pieces::Whole),
        (1 << 16, Pieces::Whole, Pieces::Of(1)),
    ] {
        let mut setup = Setup::new(1);
        setup.blocks = vec![("ram", 3)];
        setup.link = Box::new(move |_| {
            let link = Link::default().capacity(capacity);
            link.sends(sends).receives(receives)
        });
        three_rounds(setup.start().unwrap());
    }
}

/// Everything once, then twice a part of it with new content; then checks memory and counters.
fn three_rounds(mut rig: Rig) {
    let mut random = PageSource::new(7);
    let all = guest::pages(&rig.source);
    guest::fill(&rig.source, &all, &mut random);
    guest::fill_all(&rig.target, 0xee);
    rig.begin().unwrap();
    rig.queue_all().unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.target, &rig.source);
    assert_eq!(rig.receiver.received_pages(), all.len() as u64);

    let mut queued = all.len();
    for _ in 0..2 {
        let dirty: Vec<_> = all
            .iter()
            .copied()
            .filter(|_| random.below(3) == 0)
            .collect();
        guest::fill(&rig.source, &dirty, &mut random);
        for (block, offset) in &dirty {
            rig.sender.queue(*block, *offset).unwrap();
        }
        queued += dirty.len();
        rig.sync().unwrap();
        guest::assert_same(&rig.target, &rig.source);
    }

    rig.sender.wait_sent().unwrap();
    assert_eq!(rig.sender.in_flight_bytes(), 0);
    let page_size = rig.source.page_size();
    // Less than a packet stays with the sender.
    for (block, offset) in &all[..3] {
        rig.sender.queue(*block, *offset).unwrap();
    }
    queued += 3;
    assert_eq!(rig.sender.in_flight_bytes(), 3 * page_size.bytes_u64());
    rig.sync().unwrap();
    let taps = rig.taps.clone();
    let (sent, received) = rig.finish().unwrap();
    for ((tap, sent), received) in taps.iter().zip(&sent.channels).zip(&received.channels) {
        assert_eq!(sent.wire_bytes, tap.sent());
        assert_eq!(counts(sent), counts(received));
        let pages = (sent.normal_pages + sent.zero_pages) * page_size.bytes_u64();
        assert_eq!(sent.guest_bytes, pages);
    }
    let total = sent.total();
    assert_eq!(total.normal_pages + total.zero_pages, queued as u64);
}

fn counts(stats: &ChannelStats) -> [u64; 5] {
    [
        stats.packets,
        stats.normal_pages,
        stats.zero_pages,
        stats.guest_bytes,
        stats.wire_bytes,
    ]
}

#[test]
fn zero_pages_are_found_and_arrive() {
    let _watchdog = Watchdog::start();
    let mut rig = Setup::new(2).start().unwrap();
    let pages = guest::pages(&rig.source);
    guest::fill_all(&rig.target, 0xee);
    guest::write(&rig.source, pages[1], b"content");
    rig.begin().unwrap();
    rig.queue_all().unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.target, &rig.source);

    // It becomes zero after it was sent.
    guest::write(&rig.source, pages[1], &[0; 7]);
    rig.sender.queue(pages[1].0, pages[1].1).unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.target, &rig.source);
    let (sent, received) = rig.finish().unwrap();
    for total in [sent.total(), received.total()] {
        assert_eq!((total.normal_pages, total.zero_pages), (1, 300));
    }
}

#[test]
fn zero_pages_are_not_looked_for_unless_asked() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(2);
    setup.sender.zero_pages = false;
    let mut rig = setup.start().unwrap();
    guest::fill_all(&rig.target, 0xee);
    rig.begin().unwrap();
    rig.queue_all().unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.target, &rig.source);
    let total = rig.finish().unwrap().1.total();
    assert_eq!((total.normal_pages, total.zero_pages), (300, 0));
}

/// Memory that is said to be zero is not written for a zero page that arrives first: what a test
/// left there is still there. One that comes after other content is.
#[test]
fn zeroed_memory_is_not_touched() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(2);
    setup.receiver.memory_is_zeroed = true;
    let mut rig = setup.start().unwrap();
    let pages = guest::pages(&rig.source);
    let (first, twice, main) = (pages[0], pages[1], pages[2]);
    for page in [first, twice, main] {
        guest::write(&rig.target, page, b"stale");
    }
    guest::write(&rig.source, twice, b"content");
    rig.begin().unwrap();
    for page in [first, twice] {
        rig.sender.queue(page.0, page.1).unwrap();
    }
    rig.sync().unwrap();
    rig.receiver.zero_page(main.0, main.1).unwrap();
    assert_eq!(&guest::read(&rig.target, first)[..5], b"stale");
    assert_eq!(&guest::read(&rig.target, main)[..5], b"stale");
    assert_eq!(&guest::read(&rig.target, twice)[..7], b"content");

    guest::write(&rig.source, twice, &[0; 7]);
    rig.sender.queue(twice.0, twice.1).unwrap();
    rig.sync().unwrap();
    rig.receiver.zero_page(main.0, main.1).unwrap();
    assert_eq!(guest::read(&rig.target, twice), [0; 4096]);
    assert_eq!(guest::read(&rig.target, main), [0; 4096]);
    assert_eq!(rig.receiver.received_pages(), 3);
    rig.finish().unwrap();
}

#[test]
fn zero_pages_of_the_main_channel() {
    let _watchdog = Watchdog::start();
    let mut rig = Setup::new(1).start().unwrap();
    guest::fill_all(&rig.target, 0xee);
    let (block, offset) = guest::pages(&rig.source)[3];
    let early = rig.receiver.zero_page(block, offset).unwrap_err();
    assert_eq!(early.to_string(), "destination: no guest memory attached");
    rig.begin().unwrap();
    rig.receiver.zero_page(block, offset).unwrap();
    assert_eq!(guest::read(&rig.target, (block, offset)), [0; 4096]);
    for wrong in [1, 300 * 4096, u64::MAX - 4095] {
        let error = rig.receiver.zero_page(block, wrong).unwrap_err();
        assert_eq!(error.fault(), Fault::Peer);
        assert_eq!(
            error.to_string(),
            format!("destination, offset {wrong:#x}: zero page outside its block")
        );
    }
    rig.finish().unwrap();
}

#[test]
fn device_state_comes_as_it_was_sent() {
    let _watchdog = Watchdog::start();
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&arrived);
    let mut setup = Setup::new(3);
    setup.receiver.device_state = Some(Arc::new(move |state| {
        sink.lock().unwrap().push(state);
        Ok(())
    }));
    let mut rig = setup.start().unwrap();
    guest::fill(
        &rig.source,
        &guest::pages(&rig.source),
        &mut PageSource::new(3),
    );
    rig.begin().unwrap();
    let longest = "x".repeat(255);
    let mut sent = Vec::new();
    for (instance, len) in [(0, 1), (1, 1 << 20), (2, 4096), (u32::MAX, 100_000)] {
        let idstr = if instance == 2 {
            &longest
        } else {
            "0000:00:02.0/vfio"
        };
        let data = vec![instance as u8 | 1; len];
        let state = DeviceState::new(idstr, instance, data);
        sent.push(state.clone());
        rig.sender.device_state(state).unwrap();
        rig.queue_all().unwrap();
        rig.sync().unwrap();
    }
    guest::assert_same(&rig.target, &rig.source);
    let mut arrived = std::mem::take(&mut *arrived.lock().unwrap());
    arrived.sort_by_key(|state| state.instance_id);
    assert_eq!(arrived, sent);
    let taps = rig.taps.clone();
    let (sent, received) = rig.finish().unwrap();
    for ((tap, sent), received) in taps.iter().zip(&sent.channels).zip(&received.channels) {
        assert_eq!(sent.wire_bytes, tap.sent());
        assert_eq!(counts(sent), counts(received));
    }
}

#[test]
fn device_state_that_cannot_be_sent() {
    let _watchdog = Watchdog::start();
    let mut rig = Setup::new(1).start().unwrap();
    let too_long = "x".repeat(256);
    for (idstr, len) in [
        ("vfio", 0),
        ("vfio", (64 << 20) + 1),
        ("", 1),
        (too_long.as_str(), 1),
        ("vf\0io", 1),
    ] {
        let state = DeviceState::new(idstr, 0, vec![1; len]);
        let error = rig.sender.device_state(state).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller, "{error}");
    }
    // The caller's mistake is not the end of the migration.
    rig.begin().unwrap();
    rig.finish().unwrap();
}

#[test]
fn pages_that_cannot_be_queued() {
    let _watchdog = Watchdog::start();
    let mut rig = Setup::new(1).start().unwrap();
    let (block, _) = guest::pages(&rig.source)[0];
    let other = guest::pages(&guest::memory(PageSize::X86, &[("a", 1), ("b", 1)]))[1].0;
    assert_eq!(
        rig.sender.queue(block, 0).unwrap_err().to_string(),
        "source: pages before the first SYNC: the destination has no memory yet"
    );
    rig.begin().unwrap();
    for (block, offset, pages) in [
        (other, 0, 1),
        (block, 1, 1),
        (block, 300 * 4096, 1),
        (block, 0, 301),
        (block, 4096, u64::MAX),
        (block, u64::MAX - 4095, 1),
    ] {
        let error = rig.sender.queue_run(block, offset, pages).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller, "{error}");
    }
    rig.sender.queue_run(block, 0, 300).unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.target, &rig.source);
    assert_eq!(rig.finish().unwrap().0.total().zero_pages, 300);
}

#[test]
fn migrations_do_not_know_of_each_other() {
    let _watchdog = Watchdog::start();
    // The first one is stopped in the middle, with channels parked and a packet under way.
    let mut stuck = Setup::new(4);
    stuck.link = Box::new(|_| Link::default().hold_after(64 + 1344 + 100));
    let mut stuck = stuck.start().unwrap();
    stuck.begin().unwrap();
    stuck.queue_all().unwrap();
    stuck.sender.sync().unwrap();
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let mut setup = Setup::new(2);
                setup.seed = seed;
                three_rounds(setup.start().unwrap());
            });
        }
    });
    for tap in &stuck.taps {
        tap.release();
    }
    stuck.receiver.sync().unwrap();
    guest::assert_same(&stuck.target, &stuck.source);
    stuck.finish().unwrap();
}
