// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What devices send before the end of memory: kept, sent again, dropped, and looked at.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::by_hand::main_stream::{END, START, device, section};
use multifd_tests::streams::{Connections, Early, Stream, channel, devices, full, play};
use serde_json::json;

use crate::harness::{Folder, recv, run, send};

/// The memory that virtio-mem says there is: 3 blocks, of which one is plugged.
fn virtio_mem() -> Vec<u8> {
    let words =
        |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let (place, plugged) = (words(&[1 << 32, 3 << 21, 1 << 21]), words(&[1 << 21, 1]));
    [&place[..], &[0; 4], &plugged].concat()
}

const VIRTIO_MEM: &str = "0000:00:01.0/virtio-mem-device-early";

/// A guest with memory that is plugged, and with a bitmap, whose END section stands behind memory.
fn guest() -> Stream {
    let mut stream = Stream::plain([[7; 4096], [0; 4096]].concat());
    stream.machine = b"pc-q35-10.0".to_vec();
    let mem = virtio_mem();
    let bitmap = [&device(b"dirty-bitmap", 1)[..], &[1]].concat();
    let tail = section(END, 3, &[1]);
    let early = Early {
        before: full(9, VIRTIO_MEM, &mem),
        behind: section(START, 3, &bitmap),
        beside: Vec::new(),
        tail: tail.clone(),
        described: vec![(VIRTIO_MEM.into(), mem.len())],
    };
    let described = [(VIRTIO_MEM, mem.len())];
    stream.tail = [
        tail,
        devices(&[("timer", 24), ("globalstate", 104)], &described),
    ]
    .concat();
    stream.early = early;
    stream
}

fn connections(stream: &Stream) -> Connections {
    Connections {
        main: stream.main(),
        channels: (0..2).map(|id| channel(stream, id, 2)).collect(),
    }
}

/// Starts a destination with these arguments, and gives it the guest.
fn receive(folder: &Folder, args: &[&str]) -> Result<multifd_tests::command::Finished> {
    let from = format!("unix:{}", folder.text("from"));
    let (receiving, _) = recv(&from, args)?;
    play(&folder.path("from"), &connections(&guest()))?;
    receiving.finish()
}

#[test]
fn a_folder_says_what_it_has_kept() -> Result<()> {
    let folder = Folder::new()?;
    let saved = folder.text("guest");
    let received = receive(&folder, &["--save", &saved])?;
    let report = received.json(0)?;
    let early = json!([
        {"name": VIRTIO_MEM, "sections": 1, "bytes": 44},
        {"name": "dirty-bitmap", "sections": 1, "bytes": 1},
    ]);
    assert_eq!(report["devices"]["early"], early);
    assert_eq!(
        report["devices"]["sections"],
        json!(["timer", "globalstate"])
    );
    let line = format!(
        "state before the end of the memory, {VIRTIO_MEM} 44 bytes, dirty-bitmap 1 bytes: in \
         {saved}/early-sections.bin"
    );
    ensure!(received.stderr.contains(&line), "{received:?}");

    let record = run(&["inspect", "--json", &saved])?.json(0)?;
    let entry = &record["manifest"]["early-sections"];
    assert_eq!(entry["sections"], 2);
    let len = fs::metadata(folder.path("guest/early-sections.bin"))?.len();
    assert_eq!(entry["bytes"], len);
    assert_eq!(record["manifest"]["version"], 3);
    let of = |name: &str, (id, bytes): (u32, u32), (before_ram, full): (bool, bool)| {
        json!({
            "name": name, "instance": 0, "version": 1, "id": id, "before-ram": before_ram, "full": full,
            "sections": 1, "bytes": bytes,
        })
    };
    let early = json!([
        of(VIRTIO_MEM, (9, 44), (true, true)),
        of("dirty-bitmap", (3, 1), (false, false)),
    ]);
    assert_eq!(record["early-sections"], early);
    // The description leads through those behind memory.
    assert_eq!(record["devices"]["sections"][0]["name"], "timer");
    let text = run(&["inspect", &saved])?;
    let line =
        format!("{VIRTIO_MEM} instance 0, version 1, id 9, 1 sections, 44 bytes, before RAM");
    ensure!(text.stdout.contains(&line), "{text:?}");
    Ok(())
}

#[test]
fn a_folder_that_lacks_some_of_it_is_not_sent() -> Result<()> {
    let folder = Folder::new()?;
    let saved = folder.text("guest");
    receive(&folder, &["--save", &saved])?.json(0)?;
    // Before anybody is connected to: nobody listens there.
    let refused =
        |words: &[&str]| send("tcp:127.0.0.1:1", &["--load", &saved])?.failed(&[1], words);
    let path = folder.path("guest/early-sections.bin");
    let whole = fs::read(&path)?;
    fs::write(&path, whole.get(1..).context("empty")?)?;
    refused(&["early-sections.bin", "bytes, wanted"])?;
    let mut changed = whole.clone();
    *changed.last_mut().context("empty")? = 1;
    fs::write(&path, changed)?;
    refused(&["early-sections.bin", "not what was kept"])?;
    fs::remove_file(&path)?;
    refused(&["early-sections.bin", "No such file"])
}

#[test]
fn files_say_what_they_leave_out() -> Result<()> {
    let memory = [[7; 4096], [0; 4096]].concat();
    for args in [&[][..], &["--in-place"], &["--devices", "devices"]] {
        let folder = Folder::new()?;
        let there = folder.text("there");
        if args == ["--in-place"] {
            folder.write("there", &[1; 8192])?;
        }
        let devices = folder.text("devices");
        let args = args.iter().map(|arg| match *arg {
            "devices" => devices.as_str(),
            arg => arg,
        });
        let args: Vec<_> = ["--ram", &there].into_iter().chain(args).collect();
        let received = receive(&folder, &args)?;
        let report = received.json(0)?;
        assert_eq!(report["devices"]["early"][1]["name"], "dirty-bitmap");
        ensure!(report["devices"].get("early-file").is_none(), "{report:#}");
        let line = format!(
            "state before the end of the memory, {VIRTIO_MEM} 44 bytes, dirty-bitmap 1 bytes: dropped, --save \
             DIR keeps it"
        );
        let said = received.stderr.matches(&line).count();
        ensure!(said == 1, "{received:?}");
        ensure!(fs::read(&there)? == memory, "other memory");
    }
    Ok(())
}

#[test]
fn a_recording_shows_it() -> Result<()> {
    let folder = Folder::new()?;
    let main = guest().main();
    let recorded = folder.write("main", &main)?;
    let record = run(&["inspect", "--json", &recorded])?.json(0)?;
    let place = |part: &[u8]| main.windows(part.len()).position(|bytes| bytes == part);
    let early = json!([
        {
            "offset": place(&full(9, VIRTIO_MEM, &virtio_mem())), "part": "full", "name": VIRTIO_MEM, "instance": 0,
            "version": 1, "id": 9, "before-ram": true, "bytes": 44,
        },
        {
            "offset": place(b"\x01\0\0\0\x03\x0cdirty-bitmap"), "part": "start", "name": "dirty-bitmap", "instance": 0,
            "version": 1, "id": 3, "before-ram": false, "bytes": 1,
        },
    ]);
    assert_eq!(record["early-sections"], early);
    assert_eq!(record["devices"]["sections"][1]["name"], "globalstate");
    let text = run(&["inspect", &recorded])?;
    for line in [
        "other sections before the end of RAM: 2",
        "start  dirty-bitmap              instance 0, version 1, id 3, 1 bytes\n",
        "id 9, 44 bytes, before RAM\n",
    ] {
        ensure!(text.stdout.contains(line), "{line:?}: {}", text.stdout);
    }
    Ok(())
}
