// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The bytes that a sender sends.

use multifd_core::wire::Uuid;
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{Link, Watchdog};

use crate::guest;
use crate::rig::{Rig, Setup};
use crate::stream::{self, HEADER, PAGE};

/// Two rounds of 300 pages, each a mix of zero pages and others.
fn migrate(channels: u8) -> (Rig, Vec<Vec<u8>>) {
    let mut setup = Setup::new(channels);
    setup.link = Box::new(|_| Link::default().recorded());
    setup.sender.uuid = Uuid([7; 16]);
    setup.receiver.uuid = Some(Uuid([7; 16]));
    let mut rig = setup.start().unwrap();
    let mut random = PageSource::new(11);
    rig.begin().unwrap();
    for _ in 0..2 {
        guest::fill(&rig.source, &guest::pages(&rig.source), &mut random);
        rig.queue_all().unwrap();
        rig.sync().unwrap();
    }
    rig.sender.wait_sent().unwrap();
    let bytes = rig.taps.iter().map(|tap| tap.bytes()).collect();
    (rig, bytes)
}

#[test]
fn every_channel_says_who_it_is_and_starts_with_a_sync() {
    let _watchdog = Watchdog::start();
    let (rig, channels) = migrate(5);
    for (channel, bytes) in channels.iter().enumerate() {
        let mut init = [0; 64];
        init[..8].copy_from_slice(&[0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1]);
        init[8..24].fill(7);
        init[24] = channel as u8;
        let (got, packets) = stream::split(bytes);
        assert_eq!(got, init);
        let mut sync = stream::sync();
        let number = stream::number_u64(packets[0], stream::PACKET_NUM);
        stream::put_u64(&mut sync, stream::PACKET_NUM, number);
        assert_eq!(packets[0], sync);
    }
    rig.finish().unwrap();
}

#[test]
fn every_channel_has_as_many_syncs_as_there_were() {
    let _watchdog = Watchdog::start();
    let (rig, channels) = migrate(3);
    for bytes in &channels {
        let packets = stream::split(bytes).1;
        let flags = packets
            .iter()
            .map(|packet| stream::number(packet, stream::FLAGS));
        assert_eq!(flags.filter(|flags| *flags == 1).count(), 3);
    }
    rig.finish().unwrap();
}

#[test]
fn packet_numbers_are_one_count_over_all_channels() {
    let _watchdog = Watchdog::start();
    let (rig, channels) = migrate(4);
    let mut all = Vec::new();
    for bytes in &channels {
        let packets = stream::split(bytes).1;
        let numbers: Vec<_> = packets
            .iter()
            .map(|packet| stream::number_u64(packet, stream::PACKET_NUM))
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..all.len() as u64), "{all:?}");
    rig.finish().unwrap();
}

#[test]
fn packets_are_what_the_pages_make_them() {
    let _watchdog = Watchdog::start();
    let (rig, channels) = migrate(1);
    let packets = stream::split(&channels[0]).1;
    // 300 pages are two full packets and one of 44 pages.
    let counts: Vec<_> = packets
        .iter()
        .map(|packet| {
            stream::number(packet, stream::NORMAL_PAGES)
                + stream::number(packet, stream::ZERO_PAGES)
        })
        .collect();
    assert_eq!(counts, [0, 128, 128, 44, 0, 128, 128, 44, 0]);
    let total = channels[0].len();
    let normal: usize = packets
        .iter()
        .map(|packet| stream::number(packet, stream::NORMAL_PAGES) as usize)
        .sum();
    assert_eq!(total, 64 + HEADER * packets.len() + PAGE * normal);

    // The second round is what the source still holds.
    let mut first = 0;
    for packet in &packets[5..8] {
        let want = want_packet(&rig, first, packet);
        assert!(*packet == want, "the packet from page {first} on differs");
        first += 128;
    }
    rig.finish().unwrap();
}

/// The packet that holds up to 128 pages from `first` on: normal ones, then zero ones, each in the
/// order in which they were queued.
fn want_packet(rig: &Rig, first: usize, got: &[u8]) -> Vec<u8> {
    let pages = guest::pages(&rig.source);
    let pages = &pages[first..pages.len().min(first + 128)];
    let is_zero = |page: &&_| guest::read(&rig.source, **page) == [0; PAGE];
    let (zero, normal): (Vec<_>, Vec<_>) = pages.iter().partition(is_zero);
    assert!(!zero.is_empty() && !normal.is_empty());
    let offsets = |pages: &[(_, u64)]| -> Vec<u64> { pages.iter().map(|page| page.1).collect() };
    let mut want = stream::packet(&offsets(&normal), &offsets(&zero));
    let number = stream::number_u64(got, stream::PACKET_NUM);
    stream::put_u64(&mut want, stream::PACKET_NUM, number);
    want.truncate(HEADER);
    for page in normal {
        want.extend(guest::read(&rig.source, page));
    }
    want
}
