// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is accepted can be sent again: a guest that `recv --save` has kept leaves `send --load` as it came.
//!
//! "As it came" is everything but what belongs to a single migration: commands (return path, PINGs), how many rounds
//! there are and which page is on which channel in which packet, the method, and whether a zero page has content.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::by_hand::packet::init_of;
use multifd_tests::command::Finished;
use multifd_tests::streams::{
    Connections, Destination, Early, Parts, Random, Stream, channel, memory, play,
};

use crate::harness::{Folder, METHODS, PAGE, guest, recv, run, send, start};

/// Keeps what a source sends in the folder `guest`.
fn keep(folder: &Folder, sent: &Connections, args: &[&str]) -> Result<Finished> {
    let from = format!("unix:{}", folder.text("from"));
    let channels = format!("multifd-channels={}", sent.channels.len());
    let save = folder.text("guest");
    let all = [&["--save", &save, "--set", &channels][..], args].concat();
    let (receiving, _) = recv(&from, &all)?;
    play(&folder.path("from"), sent)?;
    receiving.finish()
}

/// Sends the folder `guest` to a destination that takes everything, with all pages over the channels.
fn load(folder: &Folder) -> Result<Connections> {
    let destination = Destination::bind(&folder.path("to"))?;
    let taking = thread::spawn(move || destination.take(3));
    let to = format!("unix:{}", folder.text("to"));
    let load = folder.text("guest");
    run(&[
        "send",
        "--load",
        &load,
        "--to",
        &to,
        "--json",
        "--set",
        "return-path=off",
        "--set",
        "multifd-channels=3",
        "--set",
        "zero-page-detection=none",
    ])?
    .json(0)?;
    taking.join().ok().context("the destination panicked")?
}

/// All that a source of this guest sends, on two channels.
fn connections(stream: &Stream) -> Connections {
    Connections {
        main: stream.main(),
        channels: (0..2).map(|id| channel(stream, id, 2)).collect(),
    }
}

/// Keeps a guest, sends it again, and compares.
fn round_trip(stream: &Stream, args: &[&str]) -> Result<()> {
    let folder = Folder::new()?;
    let sent = connections(stream);
    keep(&folder, &sent, args)?.json(0)?;
    let got = load(&folder)?;
    let early = &stream.early;
    let (parts, want) = (
        Parts::read(&got.main, early)?,
        Parts::read(&sent.main, early)?,
    );
    ensure!(
        parts == want,
        "the main channel: {parts:?}, wanted {want:?}"
    );
    let blocks = stream.blocks.iter();
    let want: BTreeMap<_, _> = blocks
        .map(|block| (block.name.clone(), block.content.clone()))
        .collect();
    ensure!(memory(stream, &got.channels)? == want, "the memory");
    Ok(())
}

#[test]
fn guests_with_random_facts() -> Result<()> {
    let mut early = Early::default();
    for seed in 0..40 {
        let page_size = PAGE << (seed % 5);
        let stream = Random::new(seed).stream(page_size);
        early.before.extend(&stream.early.before);
        early.behind.extend(&stream.early.behind);
        early.beside.extend(&stream.early.beside);
        early.tail.extend(&stream.early.tail);
        let text = page_size.to_string();
        let args = match stream.page_bits {
            None if page_size != PAGE => &["--page-size", text.as_str()][..],
            _ => &[],
        };
        round_trip(&stream, args).with_context(|| format!("seed {seed}: {stream:?}"))?;
    }
    let Early {
        before,
        behind,
        beside,
        tail,
        ..
    } = &early;
    for part in [before, behind, beside, tail] {
        ensure!(part.len() > 1000, "no sections at some place");
    }
    Ok(())
}

#[test]
fn the_page_size_in_the_configuration_and_the_uuid() -> Result<()> {
    let mut stream = Stream::plain(vec![7; 2 * 4096]);
    stream.machine = b"virt-10.0".to_vec();
    stream.page_bits = Some(12);
    stream.uuid = [9; 16];
    stream.validate_uuid = true;
    // An empty list of capabilities says what no list says.
    round_trip(&stream, &["--uuid", "09090909-0909-0909-0909-090909090909"])?;
    round_trip(&stream, &[])
}

#[test]
fn recorded_guests() -> Result<()> {
    for (vector, method) in [
        ("none-qemu-10.0", "none"),
        ("none-legacy-zero-qemu-10.0", "none"),
        ("zlib-qemu-10.0", "zlib"),
        ("zstd-qemu-10.0", "zstd"),
        ("zstd-per-section-qemu-10.0", "zstd"),
        ("qatzip-qemu-10.2", "qatzip"),
        ("qpl-qemu-10.2", "qpl"),
    ] {
        let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
        let read = |name: &str| std::fs::read(vectors.join(vector).join(name));
        let sent = Connections {
            main: read("main.bin")?,
            channels: vec![read("channel-0.bin")?, read("channel-1.bin")?],
        };
        let folder = Folder::new()?;
        let method = format!("multifd-compression={method}");
        keep(&folder, &sent, &["--set", &method])?.json(0)?;
        let (got, none) = (load(&folder)?, Early::default());
        ensure!(
            Parts::read(&got.main, &none)? == Parts::read(&sent.main, &none)?,
            "{vector}"
        );
        let ram = std::fs::read(vectors.join("ram.bin"))?;
        let want = BTreeMap::from([(b"ram".to_vec(), ram)]);
        let plain = Stream::plain(Vec::new());
        ensure!(memory(&plain, &got.channels)? == want, "{vector}");
    }
    Ok(())
}

#[test]
fn names_that_cannot_be_kept_are_refused() -> Result<()> {
    type Change = fn(&mut Stream);
    let changes: [(Change, &str); 5] = [
        (|guest| guest.machine = b"pc\xff".to_vec(), "machine"),
        (|guest| guest.machine = b"p\0c".to_vec(), "machine"),
        (
            |guest| guest.blocks[0].name = b"\xc3\x28".to_vec(),
            "RAM block",
        ),
        (|guest| guest.blocks[0].name = b"a\0".to_vec(), "RAM block"),
        (|guest| guest.blocks[0].name = Vec::new(), "RAM block"),
    ];
    for (change, what) in changes {
        let folder = Folder::new()?;
        let mut stream = Stream::plain(vec![7; 4096]);
        change(&mut stream);
        keep(&folder, &connections(&stream), &[])?.failed(&[3], &[what])?;
        assert_eq!(folder.names()?, [""; 0]);
    }
    Ok(())
}

#[test]
fn a_channel_of_another_guest_is_a_stranger() -> Result<()> {
    let folder = Folder::new()?;
    let mut stream = Stream::plain(vec![7; 4 * 4096]);
    // The main channel waits for the channel that says the same.
    (stream.uuid, stream.validate_uuid) = ([9; 16], true);
    let (path, first) = (folder.path("from"), connections(&stream));
    let from = format!("unix:{}", folder.text("from"));
    let (mut receiving, _) = recv(&from, &["--verbose", "--save", &folder.text("guest")])?;
    let alone = |bytes: Vec<u8>| Connections {
        main: bytes,
        channels: Vec::new(),
    };
    let [zero, one]: [Vec<u8>; 2] = first.channels.try_into().ok().context("two channels")?;
    play(&path, &alone(first.main))?;
    play(&path, &alone(zero))?;
    folder.wait_for_memory("guest.partial/ram/00-ram")?;
    play(&path, &alone(init_of([8; 16], 1)))?;
    receiving.wait_line("08080808-0808-0808-0808-080808080808")?;
    play(&path, &alone(one))?;
    receiving.finish()?.json(0)?;
    let got = load(&folder)?;
    ensure!(
        memory(&stream, &got.channels)?.len() == 1,
        "the memory is not there"
    );
    Ok(())
}

#[test]
fn what_never_came_is_zero_in_place() -> Result<()> {
    let folder = Folder::new()?;
    let stream = Stream::plain(vec![7; 4 * 4096]);
    let mut sent = connections(&stream);
    // The second channel has the pages 0 and 2: it says its barriers only.
    let mut empty = stream.clone();
    empty.blocks.clear();
    sent.channels[1] = channel(&empty, 1, 2);
    let file = folder.write("file", &[0xaa; 4 * 4096])?;
    let from = format!("unix:{}", folder.text("from"));
    let (receiving, _) = recv(&from, &["--ram", &file, "--in-place"])?;
    play(&folder.path("from"), &sent)?;
    receiving.finish()?.json(0)?;
    let pages = [[0; 4096], [7; 4096], [0; 4096], [7; 4096]];
    ensure!(std::fs::read(file)? == pages.concat(), "other bytes");
    Ok(())
}

/// A guest with pages of this size.
fn with_pages(page_size: usize, page_bits: Option<u32>) -> Stream {
    let mut stream = Stream::plain(vec![7; 4 * page_size]);
    (stream.page_size, stream.page_bits) = (page_size, page_bits);
    stream
}

#[test]
fn a_guest_with_other_pages_is_refused_as_that() -> Result<()> {
    // Channels or main channel, whichever is read first.
    for (page_size, page_bits, args, words) in [
        (8192, None, &[][..], ["pages of 8192 bytes"; 2]),
        (0x10000, None, &[], ["pages of 65536 bytes"; 2]),
        (
            PAGE,
            None,
            &["--page-size", "64K"],
            ["pages of less than 65536 bytes", "has smaller pages"],
        ),
        (
            8192,
            None,
            &["--page-size", "16K"],
            ["pages of less than 16384 bytes"; 2],
        ),
        (
            0x10000,
            None,
            &["--page-size", "16K"],
            ["pages of 65536 bytes"; 2],
        ),
        (PAGE, Some(10), &[], ["pages of 2^10 bytes"; 2]),
        (
            0x4000,
            Some(14),
            &["--page-size", "4K"],
            ["pages of 2^14 bytes", "pages of 16384 bytes"],
        ),
    ] {
        let folder = Folder::new()?;
        let sent = connections(&with_pages(page_size, page_bits));
        let refused = keep(&folder, &sent, args)?;
        refused.failed(&[3], &[])?;
        let said = words.iter().any(|words| refused.stderr.contains(words));
        ensure!(said, "wanted {words:?}: {refused:?}");
        ensure!(!refused.stderr.contains("TLS"), "{refused:?}");
        assert_eq!(folder.names()?, [""; 0]);
    }
    Ok(())
}

#[test]
fn other_pages_pass_a_relay() -> Result<()> {
    for (page_bits, args) in [(Some(14), &[][..]), (None, &["--page-size", "16K"])] {
        let folder = Folder::new()?;
        let stream = with_pages(0x4000, page_bits);
        let to = format!("unix:{}", folder.text("from"));
        let save = folder.text("guest");
        let (receiving, _) = recv(&to, &[&["--save", &save], args].concat())?;
        let listen = format!("unix:{}", folder.text("relay"));
        let relay = [
            "relay", "--json", "--quiet", "--listen", &listen, "--to", &to,
        ];
        let mut relaying = start(&[&relay[..], args].concat())?;
        relaying.wait_address()?;
        play(&folder.path("relay"), &connections(&stream))?;
        let report = relaying.finish()?.json(0)?;
        assert_eq!(report["in"]["normal"], 4);
        receiving.finish()?.json(0)?;
        let got = load(&folder)?;
        let want = BTreeMap::from([(b"ram".to_vec(), stream.blocks[0].content.clone())]);
        ensure!(memory(&stream, &got.channels)? == want, "the memory");
    }
    Ok(())
}

#[test]
fn files_with_other_pages_are_sent() -> Result<()> {
    for method in METHODS {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(16 * 20))?;
        let set = format!("multifd-compression={method}");
        let (receiving, address) = recv(
            "tcp:127.0.0.1:0",
            &["--ram", &folder.text("there"), "--set", &set],
        )?;
        let args = ["--ram", &source, "--set", &set, "--page-size", "64K"];
        let report = send(&address, &args)?.json(0)?;
        assert_eq!(report["ram"]["page-size"], 65536);
        assert_eq!(receiving.finish()?.json(0)?["ram"]["page-size"], 65536);
        folder.same("source", "there")?;
    }
    Ok(())
}

#[test]
fn recordings_of_other_pages_are_understood() -> Result<()> {
    let folder = Folder::new()?;
    for page_size in [PAGE, 0x2000, 0x4000, 0x8000, 0x10000] {
        let stream = with_pages(page_size, None);
        let sent = connections(&stream);
        let recorded = folder.write("channel", &sent.channels[0])?;
        for args in [&[][..], &["--page-size", &page_size.to_string()]] {
            let inspect = [&["inspect", "--json", recorded.as_str()], args].concat();
            let record = run(&inspect)?.json(0)?;
            assert_eq!(record["normal-pages"], 2, "{page_size} {args:?}");
        }
    }
    Ok(())
}
