// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Packets through each implementation, with a stand-in for libqpl and its device.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::memory::{IoVecList, IoVecMut, Mapping};
use multifd_core::method::{CodecPath, Fallback, PathCounts};
use multifd_core::pages::{PageRuns, PayloadSource};
use multifd_core::wire::BlockName;
use multifd_core::{
    ChannelCount, ChannelSetup, Fault, MethodError, MultifdMethods, PageSize, Payload, RamBlock,
    RecvMethod, Segments, SendMethod,
};
use multifd_deflate::Deflate;

use super::QplMethod;
use crate::engine::Engine;
use crate::library::Hardware;
use crate::stand_in;

const PAGE: usize = 4096;
const PAGES: usize = 128;

#[test]
fn every_implementation_takes_what_every_other_one_sends() {
    let memory = memory();
    for sender in engines() {
        for receiver in engines() {
            let what = format!("{sender:?} to {receiver:?}");
            let mut send = method(sender.clone()).send_setup(&setup()).unwrap();
            let mut recv = method(receiver).recv_setup(&setup()).unwrap();
            for count in [1, 7, PAGES] {
                let payload = pack(&mut *send, &memory, count);
                assert!(payload.len() < count * PAGE, "{what}");
                assert!(recv.payload_limits(count).contains(&payload.len()));
                let target = blank();
                unpack(&mut *recv, &payload, &target, count).unwrap();
                assert!(content(&target)[..count * PAGE] == content(&memory)[..count * PAGE]);
            }
            for counts in [send.paths(), recv.paths()] {
                assert_eq!(counts.unwrap().all_fallbacks(), 0, "{what}");
            }
        }
    }
    assert_eq!(stand_in::jobs(), 0);
}

#[test]
fn each_implementation_is_counted() {
    for (engine, path) in engines().into_iter().zip([
        CodecPath::Software,
        CodecPath::VendorSoftware,
        CodecPath::Hardware,
    ]) {
        let (sent, received) = exchange(engine, 3);
        for counts in [sent, received] {
            assert_eq!(counts.packets(path), 3);
            assert_eq!(counts.all_fallbacks(), 0);
        }
    }
}

#[test]
fn full_queues_take_one_page_for_another() {
    stand_in::set_depth(10);
    let (sent, received) = exchange(hardware(), 2);
    for counts in [sent, received] {
        assert_eq!(counts.packets(CodecPath::Hardware), 2);
        assert_eq!(counts.all_fallbacks(), 0);
    }
}

#[test]
fn pages_that_find_the_queues_full_of_others_are_done_in_software() {
    stand_in::set_depth(0);
    let (sent, received) = exchange(hardware(), 2);
    for counts in [sent, received] {
        assert_eq!(counts.packets(CodecPath::Software), 2);
        assert_eq!(counts.packets(CodecPath::Hardware), 0);
        assert_eq!(counts.fallbacks(Fallback::Busy), 2);
        assert_eq!(counts.all_fallbacks(), 2);
    }
}

#[test]
fn a_silent_device_is_left_alone() {
    stand_in::set_silent();
    let memory = memory();
    let setup = setup().with_accelerator_limit(Duration::from_millis(20));
    let device = method(hardware());
    let mut send = device.send_setup(&setup).unwrap();
    let mut recv = device.recv_setup(&setup).unwrap();
    for _ in 0..2 {
        let payload = pack(&mut *send, &memory, PAGES);
        let target = blank();
        unpack(&mut *recv, &payload, &target, PAGES).unwrap();
        assert!(content(&target) == content(&memory));
    }
    for counts in [send.paths().unwrap(), recv.paths().unwrap()] {
        assert_eq!(counts.packets(CodecPath::Software), 2);
        assert_eq!(counts.fallbacks(Fallback::NoDevice), 2);
        assert_eq!(counts.all_fallbacks(), 2);
    }
    drop((send, recv));
    assert!(stand_in::at_work() > 0);
    stand_in::work_late();
    assert_eq!(content(&memory), content(&self::memory()));
}

/// The first page that the device does not do ends the migration.
#[test]
fn hardware_means_every_page() {
    let payload = pack(
        &mut *method(hardware()).send_setup(&setup()).unwrap(),
        &memory(),
        PAGES,
    );
    let refused = |want: &str| {
        let limit = Duration::from_millis(20);
        let setup = setup().with_accelerator_limit(limit);
        let device = method(only_hardware());
        let mut runs = PageRuns::new(PageSize::X86);
        let block = memory();
        runs.set(&block, &offsets(PAGES)).unwrap();
        let mut list = IoVecList::default();
        let mut send = device.send_setup(&setup).unwrap();
        let sent = send
            .send_prepare(&runs.pages(), &mut Segments::new(&mut list))
            .unwrap_err();
        let mut recv = device.recv_setup(&setup).unwrap();
        let received = unpack(&mut *recv, &payload, &blank(), PAGES).unwrap_err();
        for error in [sent, received] {
            assert_eq!(error.fault(), Fault::Device);
            let text = error.to_string();
            let start = "qpl: accelerator=hardware, but the device did not do a page: ";
            assert!(text.starts_with(start) && text.contains(want), "{text}");
        }
    };
    stand_in::set_failure(50, 303);
    refused("status 303, look for");
    stand_in::set_depth(0);
    refused("status 5, end other users");
    stand_in::set_depth(1000);
    stand_in::set_silent();
    refused("no answer within the limit");
}

#[test]
fn pages_that_the_device_fails_at_are_done_in_software() {
    stand_in::set_failure(50, 303);
    let (sent, received) = exchange(hardware(), 2);
    for counts in [sent, received] {
        assert_eq!(counts.packets(CodecPath::Software), 2);
        assert_eq!(counts.fallbacks(Fallback::Failed), 2);
    }
    // What does not fit is no failure: such a page is sent as it is.
    stand_in::set_failure(50, 225);
    let mut send = method(hardware()).send_setup(&setup()).unwrap();
    pack(&mut *send, &memory(), PAGES);
    assert_eq!(send.paths().unwrap().packets(CodecPath::Hardware), 1);
}

#[test]
fn a_stream_that_lies_is_the_peers_fault() {
    let memory = memory();
    let mut send = method(hardware()).send_setup(&setup()).unwrap();
    let payload = pack(&mut *send, &memory, PAGES);
    let first = u32::from_be_bytes(payload[..4].try_into().unwrap());
    let end = 4 * PAGES + usize::try_from(first).unwrap();
    for engine in engines() {
        let mut recv = method(engine).recv_setup(&setup()).unwrap();
        let mut bad = payload.clone();
        bad[4 * PAGES..end].fill(0xff);
        let error = unpack(&mut *recv, &bad, &blank(), PAGES).unwrap_err();
        assert_eq!(error.fault(), Fault::Peer);
        assert!(error.to_string().contains("(payload byte 512)"), "{error}");

        let mut bad = payload.clone();
        bad[3] ^= 1;
        let error = unpack(&mut *recv, &bad, &blank(), PAGES).unwrap_err();
        assert_eq!(error.fault(), Fault::Peer);
        assert!(
            error.to_string().contains("a table of 128 lengths"),
            "{error}"
        );

        // The next packet is not harmed.
        let target = blank();
        unpack(&mut *recv, &payload, &target, PAGES).unwrap();
        assert!(content(&target) == content(&memory));
    }
    drop(send);
    assert_eq!((stand_in::at_work(), stand_in::jobs()), (0, 0));
}

#[test]
fn implementations_are_described() {
    let texts = engines().map(|engine| method(engine).implementation().to_string());
    let [software, library, hardware] = texts;
    assert!(software.starts_with("software (") && software.ends_with("; a test)"));
    assert!(
        library.starts_with("vendor-software (libqpl 1.9.0; ") && library.ends_with("; a test)")
    );
    assert!(hardware.starts_with("hardware (libqpl 1.9.0; "));
}

/// Sends and receives packets, and answers how each side counted them.
fn exchange(engine: Engine, packets: u64) -> (PathCounts, PathCounts) {
    let memory = memory();
    let method = method(engine);
    let mut send = method.send_setup(&setup()).unwrap();
    let mut recv = method.recv_setup(&setup()).unwrap();
    for _ in 0..packets {
        let payload = pack(&mut *send, &memory, PAGES);
        let target = blank();
        unpack(&mut *recv, &payload, &target, PAGES).unwrap();
        assert!(content(&target) == content(&memory));
    }
    (send.paths().unwrap(), recv.paths().unwrap())
}

fn engines() -> [Engine; 3] {
    let software = Engine::Software {
        why: "a test".to_owned(),
    };
    let library = Engine::Library {
        library: stand_in::library(),
        why: "a test".to_owned(),
    };
    [software, library, hardware()]
}

fn hardware() -> Engine {
    Engine::Hardware(Hardware {
        library: stand_in::library(),
        must: false,
    })
}

/// A device that has to do everything.
fn only_hardware() -> Engine {
    Engine::Hardware(Hardware {
        library: stand_in::library(),
        must: true,
    })
}

fn method(engine: Engine) -> QplMethod {
    QplMethod {
        engine,
        deflate: Deflate::built_in(),
    }
}

fn setup() -> ChannelSetup {
    let channel = ChannelCount::default().channel(0).unwrap();
    ChannelSetup::new(channel, PageSize::X86)
}

fn blank() -> RamBlock {
    let region = Mapping::anonymous(PAGES * PAGE).unwrap();
    RamBlock::new(BlockName::new("ram").unwrap(), Arc::new(region)).unwrap()
}

/// Pages that get smaller, and every seventh one that does not.
fn memory() -> RamBlock {
    let block = blank();
    let mut random = 1u64;
    for page in 0..PAGES {
        let mut bytes: Vec<u8> = format!("page {page}, ").into_bytes().repeat(500);
        bytes.truncate(PAGE);
        if page % 7 == 3 {
            bytes.fill_with(|| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                random.to_be_bytes()[0]
            });
        }
        let offset = u64::try_from(page * PAGE).unwrap();
        block.span(offset, PAGE).unwrap().copy_from(&bytes);
    }
    block
}

fn content(block: &RamBlock) -> Vec<u8> {
    let mut bytes = vec![0; PAGES * PAGE];
    block.span(0, bytes.len()).unwrap().copy_to(&mut bytes);
    bytes
}

fn offsets(count: usize) -> Vec<u64> {
    (0..count)
        .map(|page| u64::try_from(page * PAGE).unwrap())
        .collect()
}

fn pack(send: &mut dyn SendMethod, block: &RamBlock, count: usize) -> Vec<u8> {
    let mut runs = PageRuns::new(PageSize::X86);
    runs.set(block, &offsets(count)).unwrap();
    let mut list = IoVecList::default();
    let mut out = Segments::new(&mut list);
    send.send_prepare(&runs.pages(), &mut out).unwrap();
    let mut payload = vec![0; out.bytes()];
    let mut done = 0;
    for vec in out.with_header(&[]) {
        done += vec.copy_to(&mut payload[done..]);
    }
    payload
}

fn unpack(
    recv: &mut dyn RecvMethod,
    payload: &[u8],
    block: &RamBlock,
    count: usize,
) -> Result<(), MethodError> {
    let mut runs = PageRuns::new(PageSize::X86);
    runs.set(block, &offsets(count)).unwrap();
    let mut source = Bytes(payload);
    recv.recv(
        &mut Payload::new(&mut source, payload.len()),
        &runs.pages_mut(),
    )
}

struct Bytes<'a>(&'a [u8]);

impl PayloadSource for Bytes<'_> {
    fn fill(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<()> {
        for vec in room {
            let count = vec.copy_from(self.0);
            self.0 = &self.0[count..];
        }
        Ok(())
    }
}
