// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What older QEMUs send and newer ones do not.

use multifd_core::Receiver;
use multifd_tests::network::Watchdog;

use crate::bench::Bench;
use crate::stream::{self, NAME, OFFSETS, PAGE, put, put_u64};

/// Gives the packets to a channel between two sync points and answers what arrived.
fn receive(packets: &[&[u8]]) -> Bench {
    let bench = Bench::new(1);
    let all = [&stream::init(0), &stream::sync(), &packets.concat()[..]].concat();
    let source = bench.connect(&all).unwrap();
    bench.attach();
    bench.receiver.sync().unwrap();
    bench.receiver.sync().unwrap();
    drop(source);
    bench
}

fn finish(receiver: &Receiver, packets: u64) {
    let stats = receiver.finish().unwrap();
    assert_eq!(stats.total().packets, packets);
}

#[test]
fn sync_on_a_packet_with_pages() {
    let _watchdog = Watchdog::start();
    let mut packet = stream::packet(&[0x1000, 0x3000], &[0x2000]);
    put(&mut packet, stream::FLAGS, 1);
    let bench = receive(&[&packet]);
    assert_eq!(bench.page(0), [0xee; PAGE]);
    assert_eq!(bench.page(1), [2; PAGE]);
    assert_eq!(bench.page(2), [0; PAGE]);
    assert_eq!(bench.page(3), [4; PAGE]);
    finish(&bench.receiver, 2);
}

/// It comes after a SYNC that had pages, and it has no method.
#[test]
fn a_packet_without_anything() {
    let _watchdog = Watchdog::start();
    let mut empty = stream::sync();
    put(&mut empty, stream::FLAGS, 0);
    let mut other_method = empty.clone();
    put(&mut other_method, stream::FLAGS, 4);
    let bench = receive(&[&empty, &other_method, &stream::sync()]);
    finish(&bench.receiver, 4);
}

#[test]
fn stale_fields_of_a_packet_without_pages() {
    let _watchdog = Watchdog::start();
    let mut stale = stream::sync();
    put(&mut stale, stream::PAGES_ALLOC, 128);
    put(&mut stale, stream::NEXT_PACKET_SIZE, 0x1234_5678);
    stale[NAME..OFFSETS].fill(b'x');
    stale[OFFSETS..].fill(0xff);
    let page = stream::packet(&[0], &[]);
    let bench = receive(&[&stale.clone()]);
    finish(&bench.receiver, 2);
    // The size is not believed, so the next packet is found where it is.
    put(&mut stale, stream::FLAGS, 0);
    let bench = receive(&[&stale, &page, &stream::sync()]);
    assert_eq!(bench.page(0), [1; PAGE]);
    finish(&bench.receiver, 4);
}

#[test]
fn stale_fields_of_a_packet_with_pages() {
    let _watchdog = Watchdog::start();
    let mut packet = stream::packet(&[0x1000], &[]);
    packet[NAME + 4..OFFSETS].fill(b'x');
    for at in 1..128 {
        put_u64(&mut packet, OFFSETS + 8 * at, u64::MAX);
    }
    let bench = receive(&[&packet, &stream::sync()]);
    assert_eq!(bench.page(1), [2; PAGE]);
    finish(&bench.receiver, 3);
}

#[test]
fn packet_numbers_in_any_order_and_unknown_flags() {
    let _watchdog = Watchdog::start();
    let mut first = stream::packet(&[0], &[]);
    put_u64(&mut first, stream::PACKET_NUM, 99);
    put(&mut first, stream::FLAGS, 0xffff_ff80);
    let mut second = stream::packet(&[0x1000], &[]);
    put_u64(&mut second, stream::PACKET_NUM, 3);
    let bench = receive(&[&first, &second, &stream::sync()]);
    assert_eq!(bench.page(0), [1; PAGE]);
    assert_eq!(bench.page(1), [2; PAGE]);
    finish(&bench.receiver, 4);
}

#[test]
fn pages_in_any_order() {
    let _watchdog = Watchdog::start();
    // The payload follows the order of the packet.
    let bench = receive(&[
        &stream::packet(&[0x5000, 0x1000, 0x4000], &[0x2000, 0]),
        &stream::sync(),
    ]);
    for (page, byte) in [(5, 6), (1, 2), (4, 5), (2, 0), (0, 0), (3, 0xee)] {
        assert_eq!(bench.page(page), [byte; PAGE], "page {page}");
    }
    finish(&bench.receiver, 3);
}
