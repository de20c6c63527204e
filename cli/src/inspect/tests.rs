// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What QEMUs have sent is understood, and what nobody would send does no harm.

use std::fs;
use std::path::{Path, PathBuf};

use multifd_core::PageSize;
use multifd_core::wire::{
    BlockName, DeviceStateHeader, InitPacket, MethodId, PacketFlags, PageOffsets, RamHeaderBuffer,
    Uuid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Record;

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors")
        .join(name)
}

fn machine(name: &str) -> PathBuf {
    let folder = "../multifd-migration/src/stream/tests/machines";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name)
}

/// Reads a file; answers the record as JSON and as text.
fn inspect(path: &Path) -> (Value, String, bool) {
    let record = Record::read(path, false, None).unwrap();
    let json = serde_json::to_value(&record).unwrap();
    (json, record.text(), record.is_in_order())
}

fn inspect_bytes(bytes: &[u8]) -> (Value, String, bool) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("recording");
    fs::write(&path, bytes).unwrap();
    inspect(&path)
}

#[test]
fn the_main_channel_of_a_small_machine() {
    let (record, text, in_order) = inspect(&vector("none-qemu-10.0/main.bin"));
    assert!(in_order, "{record:#}");
    assert_eq!(record["kind"], "main-channel");
    assert_eq!(record["machine"], "none");
    assert_eq!(
        record["commands"],
        json!([{"offset": 0x65, "name": "SWITCHOVER_START"}])
    );
    let ram = &record["ram"];
    assert_eq!(ram["blocks"], json!([{"name": "ram", "length": 4 << 20}]));
    assert_eq!(ram["sync-mode"], "per-round");
    let sections = ram["sections"].as_array().unwrap();
    assert_eq!(sections[0]["offset"], 0x11);
    assert_eq!(sections[0]["part"], "start");
    assert_eq!(sections[1]["offset"], 0x4b);
    assert_eq!(sections.last().unwrap()["part"], "end");
    let bytes: u64 = sections
        .iter()
        .map(|section| section["bytes"].as_u64().unwrap())
        .sum();
    // The head, the sections, and one command.
    assert_eq!(record["devices"]["offset"], 0x11 + bytes + 5);
    let devices = &record["devices"]["sections"];
    assert_eq!(devices[0]["name"], "timer");
    assert_eq!(devices[1]["name"], "globalstate");
    assert_eq!(record["devices"]["description"]["devices"], 2);
    assert_eq!(record["devices"]["description"]["page-size"], 4096);
    for part in [
        "machine \"none\"",
        "SWITCHOVER_START",
        "globalstate",
        "VM description",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
}

#[test]
fn zero_pages_and_barriers_of_a_section_are_counted() {
    let (record, ..) = inspect(&vector("none-legacy-zero-qemu-10.0/main.bin"));
    assert_eq!(record["ram"]["zero-pages"], 172);
    let (record, ..) = inspect(&vector("zstd-per-section-qemu-10.0/main.bin"));
    assert_eq!(record["ram"]["sync-mode"], "per-section");
    assert_eq!(
        record["ram"]["syncs"],
        record["ram"]["sections"].as_array().unwrap().len()
    );
}

#[test]
fn whole_machines_are_listed_device_by_device() {
    for (name, sections, ping) in [("pc-qemu-10.0.bin", 30, 32), ("q35-qemu-10.0.bin", 29, 29)] {
        let (record, _, in_order) = inspect(&machine(name));
        assert!(in_order, "{record:#}");
        let devices = record["devices"]["sections"].as_array().unwrap();
        assert_eq!(devices.len(), sections);
        assert_eq!(record["devices"]["description"]["devices"], sections);
        assert_eq!(
            record["commands"][1],
            json!({"offset": ping, "name": "PING", "value": 1})
        );
        assert_eq!(record["ram"]["blocks"].as_array().unwrap().len(), 6);
    }
}

#[test]
fn a_last_ping_is_no_device() {
    let mut bytes = fs::read(machine("pc-qemu-10.0.bin")).unwrap();
    let len = bytes.len();
    bytes.extend([8, 0, 2, 0, 4, b'm', b'f', b'G', b'o']);
    let (record, _, in_order) = inspect_bytes(&bytes);
    assert!(in_order, "{record:#}");
    let last = record["commands"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["offset"], &last["name"]),
        (&json!(len), &json!("PING"))
    );
    assert_eq!(record["devices"]["sections"].as_array().unwrap().len(), 30);
}

#[test]
fn channels_of_each_method() {
    for method in ["none", "zlib", "zstd", "qatzip", "qpl"] {
        let version = if ["qatzip", "qpl"].contains(&method) {
            "10.2"
        } else {
            "10.0"
        };
        let (mut normal, mut zero, mut bytes) = (0, 0, 0);
        for channel in [0, 1] {
            let path = vector(&format!("{method}-qemu-{version}/channel-{channel}.bin"));
            let (record, text, in_order) = inspect(&path);
            assert!(in_order, "{record:#}");
            assert_eq!(record["kind"], "multifd-channel");
            assert_eq!(record["channel"], channel);
            assert_eq!(record["uuid"], Uuid::default().to_string());
            assert_eq!(record["methods"], json!([method]));
            let syncs = record["syncs"].as_array().unwrap();
            assert_eq!(record["packets"]["sync"], syncs.len());
            // The first packet is always one.
            assert_eq!(syncs[0], 64);
            let count = |value: &Value| value.as_u64().unwrap();
            normal += count(&record["normal-pages"]);
            zero += count(&record["zero-pages"]);
            bytes += count(&record["bytes"]);
            let packets = count(&record["packets"]["data"]) + count(&record["packets"]["sync"]);
            let payload = count(&record["payload-bytes"]);
            assert_eq!(count(&record["bytes"]), 64 + 1344 * packets + payload);
            assert!(text.contains(&format!("method {method}")), "{text}");
        }
        assert_eq!((normal, zero), (852, 172), "{method}, {bytes} bytes");
    }
}

/// A channel that begins as it must.
fn channel() -> Vec<u8> {
    let init = InitPacket {
        uuid: Uuid::default(),
        channel: 3,
    };
    let mut sync = RamHeaderBuffer::new(PageSize::X86);
    sync.set_sync(0);
    [init.encode().as_slice(), sync.as_bytes()].concat()
}

fn packet(
    flags: PacketFlags,
    number: u64,
    offsets: &[u64],
    normal: usize,
    payload: u32,
) -> Vec<u8> {
    let mut header = RamHeaderBuffer::new(PageSize::X86);
    let block = BlockName::new("ram").unwrap();
    let (normal, zero) = offsets.split_at(normal);
    let pages = PageOffsets { normal, zero };
    header
        .set_pages(flags, number, &block, pages, payload)
        .unwrap();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(vec![7; payload as usize]);
    bytes
}

#[test]
fn what_a_source_must_not_send_is_said_with_its_place() {
    let zstd = PacketFlags::pages(MethodId::ZSTD);
    let none = PacketFlags::pages(MethodId::NONE);
    let good = packet(zstd, 1, &[0], 1, 9);
    let next = packet(zstd, 2, &[4096], 1, 9);
    for (packets, at, want) in [
        (
            packet(none, 1, &[0], 1, 4095),
            0,
            "a payload of 4095 bytes for 1 pages with none",
        ),
        (
            packet(zstd, 1, &[0], 1, 2 << 20),
            0,
            "a payload of 2097152 bytes",
        ),
        (packet(zstd, 0, &[0], 0, 0), 0, "packet number 0 after 0"),
        (
            packet(zstd, 1, &[5], 0, 0),
            0,
            "page offset 0x5 of block ram is not aligned",
        ),
        (
            packet(zstd, 1, &[0, 0], 0, 0),
            0,
            "page 0x0 of block ram comes twice",
        ),
        (
            packet(PacketFlags::from_bits(0x104), 1, &[0], 0, 0),
            0,
            "unknown bits",
        ),
        (
            [good.clone(), packet(zstd, 2, &[0], 0, 0)].concat(),
            good.len(),
            "comes twice",
        ),
        (
            [good.clone(), packet(none, 2, &[4096], 0, 0)].concat(),
            good.len(),
            "the method is none after zstd",
        ),
        ([good.clone(), vec![1; 40]].concat(), good.len(), "magic"),
        (
            [good.clone(), next[..5].to_vec()].concat(),
            good.len(),
            "5 bytes of 12",
        ),
        (
            [good.clone(), next[..99].to_vec()].concat(),
            good.len(),
            "99 bytes of 1344",
        ),
        (
            [good.clone(), next[..1350].to_vec()].concat(),
            good.len(),
            "6 bytes of 9",
        ),
    ] {
        let start = channel();
        let (record, text, in_order) = inspect_bytes(&[start.clone(), packets].concat());
        assert!(!in_order, "{want}: {record:#}");
        let anomaly = &record["anomalies"][0];
        assert!(
            anomaly["what"].as_str().unwrap().contains(want),
            "{want}: {record:#}"
        );
        assert_eq!(anomaly["offset"], start.len() + at, "{want}");
        assert!(text.contains("wrong: "), "{text}");
    }
    let init = &channel()[..64];
    let early = [init, &good].concat();
    let (record, ..) = inspect_bytes(&early);
    assert_eq!(
        record["anomalies"][0]["what"],
        "pages before the first SYNC"
    );
}

#[test]
fn old_senders_and_device_state_are_in_order() {
    let sync = PacketFlags::from_bits(PacketFlags::pages(MethodId::NONE).bits() | 1);
    let state = DeviceStateHeader {
        idstr: b"vfio",
        instance_id: 2,
        payload_len: 10,
    };
    let packets = [
        packet(sync, 1, &[0], 1, 4096),
        packet(PacketFlags::from_bits(0), 2, &[], 0, 0),
        packet(PacketFlags::from_bits(0), 3, &[0], 1, 4096),
        state.encode().unwrap().to_vec(),
        vec![9; 10],
    ];
    let (record, _, in_order) = inspect_bytes(&[channel(), packets.concat()].concat());
    assert!(in_order, "{record:#}");
    let counts = json!({"data": 1, "sync": 1, "data-and-sync": 1, "empty": 1, "device-state": 1});
    assert_eq!(record["packets"], counts);
    assert_eq!(
        record["devices"],
        json!({"vfio 2": {"packets": 1, "bytes": 10}})
    );
}

#[test]
fn names_do_not_reach_a_terminal_as_they_are() {
    let mut header = RamHeaderBuffer::new(PageSize::X86);
    let block = BlockName::new("ram\u{1b}[2J\n").unwrap();
    let (flags, pages) = (
        PacketFlags::pages(MethodId::ZSTD),
        PageOffsets {
            normal: &[],
            zero: &[3],
        },
    );
    header.set_pages(flags, 1, &block, pages, 0).unwrap();
    let (record, text, _) = inspect_bytes(&[channel(), header.as_bytes().to_vec()].concat());
    assert!(record["blocks"]["ram\u{1b}[2J\n"].is_object(), "{record:#}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("ram\\u{1b}[2J\\n "), "{text}");
}

#[test]
fn anomalies_have_a_limit() {
    let packets: Vec<u8> = (1..150)
        .flat_map(|number| packet(PacketFlags::pages(MethodId::ZLIB), number, &[0], 0, 0))
        .collect();
    let (record, ..) = inspect_bytes(&[channel(), packets].concat());
    assert_eq!(record["anomalies"].as_array().unwrap().len(), 100);
    assert_eq!(record["more-anomalies"], 148 - 100);
}

#[test]
fn anything_is_an_answer_and_nothing_a_panic() {
    for path in [
        vector("none-legacy-zero-qemu-10.0/main.bin"),
        vector("zstd-qemu-10.0/channel-0.bin"),
    ] {
        let good = fs::read(path).unwrap();
        let head = good.len().min(20_000);
        for at in (0..head).step_by(61) {
            inspect_bytes(&good[..at.max(4)]);
            let mut bad = good[..head].to_vec();
            bad[at.max(4)] ^= 0xff;
            inspect_bytes(&bad);
        }
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    for bytes in [&b""[..], b"QEV", b"GIF89a", &[0; 100]] {
        fs::write(&path, bytes).unwrap();
        assert!(Record::read(&path, false, None).is_err());
    }
    assert!(Record::read(folder.path(), false, None).is_err());
    assert!(Record::read(&folder.path().join("missing"), false, None).is_err());
}

#[test]
fn a_stream_that_ends_early_is_shown_as_far_as_it_goes() {
    let good = fs::read(machine("q35-qemu-10.0.bin")).unwrap();
    for len in [10, 100, 200, good.len() - 1] {
        let (record, text, in_order) = inspect_bytes(&good[..len]);
        assert!(!in_order);
        assert!(record["error"]["offset"].as_u64().unwrap() <= len as u64);
        assert!(text.contains("wrong at byte"), "{text}");
    }
    let (record, ..) = inspect_bytes(&good[..200]);
    assert_eq!(record["machine"], "pc-q35-10.0");
}
