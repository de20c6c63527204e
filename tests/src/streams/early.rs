// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections that devices send before the end of RAM.

use std::collections::HashSet;

use super::plan::Early;
use super::random::Random;
use crate::by_hand::main_stream::{END, FULL, PART, START, device, section};

/// What devices send around RAM, in the layouts that QEMU has, and in others.
pub(super) fn early(random: &mut Random, ram_section_id: u32) -> Early {
    let mut early = Early::default();
    // Those of RAM and of the devices behind it.
    let mut ids: HashSet<u32> = (100..200).chain([ram_section_id]).collect();
    for _ in 0..random.below(6) {
        let id = loop {
            let id = u32::try_from(random.below(1 << 32)).unwrap_or_default() >> random.below(31);
            if ids.insert(id) {
                break id;
            }
        };
        match random.below(7) {
            0 => virtio_mem(&mut early, random, id),
            1 => unknown(&mut early, random, id),
            2 => full(&mut early, random, id),
            3 => several(&mut early, random, (id, "dirty-bitmap"), &bitmap),
            4 => several(&mut early, random, (id, "0000:00:02.0/vfio"), &vfio),
            5 => several(
                &mut early,
                random,
                (id, "s390-storage_attributes"),
                &attributes,
            ),
            _ => several(&mut early, random, (id, "spapr/htab"), &hash_table),
        }
    }
    early
}

/// Memory that is plugged, before RAM.
fn virtio_mem(early: &mut Early, random: &mut Random, id: u32) {
    let blocks = 1 + random.below(1000);
    let name = format!(
        "0000:00:{:02x}.0/virtio-mem-device-early",
        random.below(256)
    );
    let mut data = words(&[1 << 32, (blocks as u64) << 21, 1 << 21]);
    data.extend(1_u32.to_be_bytes());
    data.extend(words(&[3 << 21]));
    data.extend(words(&vec![random.number(); blocks.div_ceil(64)]));
    early.before.extend(section(
        FULL,
        id,
        &[&device(name.as_bytes(), 1), &data[..]].concat(),
    ));
    early.described.push((name, data.len()));
}

/// All of a device that nobody knows, behind RAM's START section.
fn full(early: &mut Early, random: &mut Random, id: u32) {
    let (name, data) = (random.tame_name(255), random.bytes(70_000));
    let version = u32::try_from(random.below(9)).unwrap_or_default();
    let head = device(name.as_bytes(), version);
    early
        .behind
        .extend(section(FULL, id, &[&head[..], &data].concat()));
    early.described.push((name, data.len()));
}

/// A device that nobody knows, in several sections.
fn unknown(early: &mut Early, random: &mut Random, id: u32) {
    let name = random.tame_name(100);
    several(early, random, (id, &name), &|random, _| {
        random.bytes(200_000)
    });
}

/// A device with a START section, some PART sections, and an END section, here or behind RAM.
fn several(
    early: &mut Early,
    random: &mut Random,
    (id, name): (u32, &str),
    data: &dyn Fn(&mut Random, u8) -> Vec<u8>,
) {
    let head = device(name.as_bytes(), 3);
    let start = [head, data(random, START)].concat();
    early.behind.extend(section(START, id, &start));
    for _ in 0..random.below(4) {
        early.beside.extend(section(PART, id, &data(random, PART)));
    }
    let end = section(END, id, &data(random, END));
    match random.below(2) {
        0 => early.beside.extend(end),
        _ => early.tail.extend(end),
    }
}

fn bitmap(random: &mut Random, kind: u8) -> Vec<u8> {
    let names = b"\x04node\x03bit";
    let chunk = match kind {
        START => [&b"\x1c"[..], names, b"\0\x01\0\0\x03"].concat(),
        PART => {
            let bits = random.bytes(100_000);
            let len = words(&[bits.len() as u64]);
            let place = [&words(&[7])[..], &[0, 1, 0, 0]].concat();
            [&b"\x4c"[..], names, &place, &len, &bits].concat()
        }
        _ => [&b"\x2c"[..], names].concat(),
    };
    [chunk, vec![1]].concat()
}

fn vfio(random: &mut Random, kind: u8) -> Vec<u8> {
    let tag = 0xffff_ffff_ef10_0000;
    let state = match kind {
        START => words(&[tag + 3]),
        _ => {
            let state = random.bytes(150_000);
            [words(&[tag + 4, state.len() as u64]), state].concat()
        }
    };
    [state, words(&[tag + 1])].concat()
}

fn attributes(random: &mut Random, kind: u8) -> Vec<u8> {
    match kind {
        PART => {
            let values = random.bytes(3000);
            [words(&[0x1002, values.len() as u64]), values, words(&[1])].concat()
        }
        END => words(&[8, 1]),
        _ => words(&[1]),
    }
}

fn hash_table(random: &mut Random, kind: u8) -> Vec<u8> {
    match kind {
        START => 24_u32.to_be_bytes().to_vec(),
        PART => {
            let entries = [0x7e; 16].repeat(random.below(1000));
            let count = u16::try_from(entries.len() / 16).unwrap_or_default();
            let head = [0, 0, 0, 0, 0, 0, 0, 9];
            let run = [&head[..], &count.to_be_bytes(), &[0, 1]].concat();
            [run, entries, vec![0; 8]].concat()
        }
        _ => vec![0xff; 4],
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
