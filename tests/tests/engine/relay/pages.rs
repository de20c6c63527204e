// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes into a relay comes out of it: pages, with any methods and channels.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::{ForwarderConfig, MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{Link, Pieces, Watchdog};

use super::bench::Bench;
use crate::guest;
use crate::relay_rig::Setup;
use crate::rig::none;
use crate::stream::{
    self, HEADER, NAME, NEXT_PACKET_SIZE, NORMAL_PAGES, OFFSETS, PAGE, ZERO_PAGES,
};

const BLOCKS: [(&str, usize); 3] = [("pc.ram", 300), ("/rom@etc/acpi/tables", 33), ("one", 1)];

fn method(factory: impl MethodFactory) -> Arc<dyn MultifdMethods> {
    factory.open(&MethodOptions::new()).unwrap()
}

#[test]
fn any_number_of_channels_on_each_side() {
    let _watchdog = Watchdog::start();
    for channels in [(1, 1), (1, 5), (5, 1), (3, 16), (255, 2), (2, 255)] {
        let mut setup = Setup::new(channels.0, channels.1);
        setup.blocks = BLOCKS.to_vec();
        three_rounds(setup, 7);
    }
}

#[test]
fn any_method_on_each_side() {
    let _watchdog = Watchdog::start();
    let methods = || {
        [
            none(),
            method(multifd_zlib::ZlibFactory),
            method(multifd_zstd::ZstdFactory),
        ]
    };
    for from in methods() {
        for to in methods() {
            let mut setup = Setup::new(2, 3);
            setup.blocks = BLOCKS.to_vec();
            setup.methods = (Arc::clone(&from), to);
            three_rounds(setup, 11);
        }
    }
}

#[test]
fn any_page_size() {
    let _watchdog = Watchdog::start();
    for bytes in [8192, 65536] {
        let mut setup = Setup::new(2, 2);
        setup.page_size = PageSize::new(bytes).unwrap();
        setup.blocks = vec![("ram", 40), ("rom", 3)];
        three_rounds(setup, 5);
    }
}

#[test]
fn networks_that_give_little_at_a_time() {
    let _watchdog = Watchdog::start();
    for seed in 0..10 {
        let link = move |channel: u8, salt: u64| {
            let random = |end| Pieces::Random(8 * seed + 4 * u64::from(channel) + end + salt);
            Link::default()
                .capacity(1 << (6 + 2 * (seed % 5)))
                .sends(random(0))
                .receives(random(1))
        };
        let mut setup = Setup::new(2, 3);
        setup.blocks = vec![("ram", 140), ("rom", 2)];
        setup.in_link = Box::new(move |channel| link(channel, 0));
        setup.out_link = Box::new(move |channel| link(channel, 2));
        three_rounds(setup, seed);
    }
}

/// Everything once, then twice a part of it with new content; then checks memory and counters.
pub(super) fn three_rounds(setup: Setup, seed: u64) {
    let forwarder = setup.forwarder();
    let mut rig = setup.start(&forwarder).unwrap();
    let mut random = PageSource::new(seed);
    let all = guest::pages(&rig.ends.source);
    guest::fill(&rig.ends.source, &all, &mut random);
    guest::fill_all(&rig.ends.target, 0xee);
    rig.begin().unwrap();
    rig.queue_all().unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.ends.target, &rig.ends.source);

    let mut queued = all.len();
    for _ in 0..2 {
        let dirty: Vec<_> = all
            .iter()
            .copied()
            .filter(|_| random.below(3) == 0)
            .collect();
        guest::fill(&rig.ends.source, &dirty, &mut random);
        for (block, offset) in &dirty {
            rig.ends.sender.queue(*block, *offset).unwrap();
        }
        queued += dirty.len();
        rig.sync().unwrap();
        guest::assert_same(&rig.ends.target, &rig.ends.source);
    }
    rig.ends.sender.wait_sent().unwrap();
    let (sent, passed_on, received) = rig.finish().unwrap();
    assert_eq!(
        sent.total().wire_bytes,
        passed_on.incoming.total().wire_bytes
    );
    assert_eq!(
        passed_on.outgoing.total().wire_bytes,
        received.total().wire_bytes
    );
    for total in [sent.total(), received.total()] {
        assert_eq!(total.normal_pages + total.zero_pages, queued as u64);
    }
    // A SYNC packet per channel and sync point, on both sides.
    for channel in received.channels.iter().chain(&sent.channels) {
        assert!(channel.packets >= 4, "{channel:?}");
    }
    assert_eq!(passed_on.syncs.count, 4);
    assert!(passed_on.packets.count > 0);
}

/// A source that looks for no zero pages, and destinations that know them and that do not.
#[test]
fn zero_pages_are_found_on_the_way_or_sent_with_their_content() {
    let _watchdog = Watchdog::start();
    for (source_finds, destination_knows) in
        [(false, true), (true, true), (true, false), (false, false)]
    {
        let mut setup = Setup::new(2, 2);
        setup.blocks = BLOCKS.to_vec();
        setup.sender.zero_pages = source_finds;
        setup.forwarder.zero_pages = destination_knows;
        let forwarder = setup.forwarder();
        let mut rig = setup.start(&forwarder).unwrap();
        let all = guest::pages(&rig.ends.source);
        let content: Vec<_> = all.iter().copied().skip(1).step_by(3).collect();
        for page in &content {
            guest::write(&rig.ends.source, *page, b"content");
        }
        guest::fill_all(&rig.ends.target, 0xee);
        rig.begin().unwrap();
        rig.queue_all().unwrap();
        rig.sync().unwrap();
        guest::assert_same(&rig.ends.target, &rig.ends.source);
        let (sent, passed_on, received) = rig.finish().unwrap();
        let (zero, all) = ((all.len() - content.len()) as u64, all.len() as u64);
        let zero_if = |yes| if yes { zero } else { 0 };
        assert_eq!(sent.total().zero_pages, zero_if(source_finds));
        for total in [passed_on.outgoing.total(), received.total()] {
            assert_eq!(total.zero_pages, zero_if(destination_knows));
            assert_eq!(total.normal_pages + total.zero_pages, all);
        }
    }
}

#[test]
fn packets_keep_block_offsets_and_content() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    let mut out = bench.begin();
    bench.send(0, &stream::packet(&[0x7000, 0x3000], &[0xf000, 0x1000]));
    bench.send(0, &stream::sync());
    out.forwarding.sync().unwrap();
    let bytes = out.read(0, 64 + 3 * HEADER + 2 * PAGE);
    drop(out);
    let (init, packets) = stream::split(&bytes);
    assert_eq!(init, stream::init(0));
    let [first, packet, last] = packets[..] else {
        panic!("{} packets", packets.len());
    };
    for sync in [first, last] {
        assert_eq!(stream::number(sync, stream::FLAGS), 1);
    }
    assert_eq!(&packet[NAME..NAME + 4], b"ram\0");
    let number = |at| stream::number(packet, at);
    assert_eq!((number(NORMAL_PAGES), number(ZERO_PAGES)), (2, 2));
    assert_eq!(number(NEXT_PACKET_SIZE) as usize, 2 * PAGE);
    let offsets = [0x7000, 0x3000, 0xf000, 0x1000];
    for (at, want) in offsets.into_iter().enumerate() {
        assert_eq!(stream::number_u64(packet, OFFSETS + 8 * at), want);
    }
    for (at, offset) in [0x7000, 0x3000].into_iter().enumerate() {
        let content = &packet[HEADER + at * PAGE..][..PAGE];
        assert_eq!(content, [stream::page_byte(offset); PAGE]);
    }
}

#[test]
fn both_bandwidths_are_kept() {
    let _watchdog = Watchdog::start();
    for incoming in [true, false] {
        let mut setup = Setup::new(2, 2);
        setup.blocks = vec![("ram", 8 * 128)];
        let limit = NonZeroU64::new(32 << 20);
        if incoming {
            setup.forwarder.recv_bandwidth = limit;
        } else {
            setup.forwarder.send_bandwidth = limit;
        }
        let forwarder = setup.forwarder();
        let mut rig = setup.start(&forwarder).unwrap();
        guest::fill_all(&rig.ends.source, 1);
        rig.begin().unwrap();
        let start = std::time::Instant::now();
        rig.queue_all().unwrap();
        rig.sync().unwrap();
        // 4 MiB at 32 MiB/s are 125 ms, of which 50 ms are credit and a packet on each of two
        // channels is 31 ms. It may take longer, but not shorter.
        assert!(start.elapsed() >= Duration::from_millis(40));
    }
}
