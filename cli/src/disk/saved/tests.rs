// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Folders are written, read, and not believed.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use multifd_core::wire::{BlockName, Uuid};
use multifd_core::{DeviceState, PageSize};
use multifd_migration::EarlySections as _;
use multifd_migration::stream::{
    AnnouncedBlock, Configuration, EMPTY_TAIL, EarlyPart, EarlyPlace, EarlySection, SectionHead,
    SectionKind, SyncMode, Tail,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{How, Saved, Saving};

const UUID: Uuid = Uuid([7; 16]);

fn plan(target: &Path) -> anyhow::Result<Saving> {
    let how = How {
        address: "tcp:127.0.0.1:4444".into(),
        method: "zstd".into(),
        channels: 4,
    };
    Saving::plan(target, how)
}

fn saving(target: &Path) -> Saving {
    plan(target).unwrap()
}

fn announced() -> Vec<AnnouncedBlock> {
    let block = |name: &str, used_length| AnnouncedBlock {
        name: BlockName::new(name).unwrap(),
        used_length,
    };
    vec![block("pc.ram", 64 * 4096), block("/rom@etc/table", 4096)]
}

fn configuration() -> Configuration {
    Configuration {
        machine: "pc-q35-10.0".into(),
        uuid: Some(UUID),
        ..Configuration::default()
    }
}

fn tail() -> Tail {
    Tail::parse(EMPTY_TAIL.to_vec()).unwrap()
}

/// Receives a guest whose pages 1 and 5 of the first block have content.
fn receive(saving: &mut Saving) {
    let memory = saving
        .memory(&configuration(), PageSize::X86, &announced())
        .unwrap();
    let (_, ram) = memory.find(b"pc.ram").unwrap();
    for page in [1_u8, 5] {
        let span = ram.span(u64::from(page) * 4096, 4096).unwrap();
        span.copy_from(&[page; 4096]);
    }
    // Written, and zero.
    ram.span(9 * 4096, 4096).unwrap().copy_from(&[0; 4096]);
    saving.set_sync_mode(SyncMode::PerSection);
}

/// A section of a bitmap, in a place.
fn early_section(kind: SectionKind, place: EarlyPlace) -> EarlySection {
    let head = SectionHead {
        kind,
        id: 7,
        idstr: "dirty-bitmap".into(),
        instance: 2,
        version: 3,
    };
    EarlySection {
        head,
        data: vec![0x7e; 1000 * (1 + place as usize)],
        place,
    }
}

fn early_sections() -> Vec<EarlySection> {
    vec![
        early_section(SectionKind::Start, EarlyPlace::BeforeRam),
        early_section(SectionKind::Part, EarlyPlace::BehindStart),
        early_section(SectionKind::Part, EarlyPlace::BesideRam),
        early_section(SectionKind::End, EarlyPlace::BesideRam),
    ]
}

fn give(saving: &mut Saving, section: &EarlySection) {
    let (head, place) = (&section.head, section.place);
    let start = EarlyPart::Start { head, place };
    saving.early_section(start).unwrap();
    for data in section.data.chunks(33) {
        saving.early_section(EarlyPart::Data(data)).unwrap();
    }
    saving.early_section(EarlyPart::End).unwrap();
}

fn save(target: &Path) {
    let mut saving = saving(target);
    let early = early_sections();
    saving.set_ram_section_id(3);
    give(&mut saving, &early[0]);
    receive(&mut saving);
    for section in &early[1..] {
        give(&mut saving, section);
    }
    let sink = saving.sink();
    for number in 1..4 {
        sink(DeviceState::new("vfio", number, vec![9; 100])).unwrap();
    }
    saving.complete(&tail(), UUID, 65).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_kept_is_read_again() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    save(&outer.path().join("guest/"));
    assert_eq!(names(outer.path()), ["guest"]);
    let files = [
        "device-packets.bin",
        "devices.bin",
        "early-sections.bin",
        "manifest.json",
        "ram",
        "unreleased",
    ];
    assert_eq!(names(&target), files);
    assert_eq!(
        names(&target.join("ram")),
        ["00-pc.ram", "01-_rom_etc_table"]
    );
    // A guest's memory holds its secrets.
    assert_eq!(
        target.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    let ram = target.join("ram/00-pc.ram").metadata().unwrap();
    assert_eq!(ram.permissions().mode() & 0o777, 0o600);
    assert!(ram.blocks() * 512 < ram.len(), "{} blocks", ram.blocks());

    let saved = Saved::open(&target).unwrap();
    let manifest = &saved.manifest;
    assert_eq!(manifest.machine, "pc-q35-10.0");
    assert_eq!((saved.uuid, manifest.validate_uuid), (UUID, true));
    assert_eq!(manifest.received_pages, 65);
    assert_eq!(manifest.blocks[0].data_bytes, 2 * 4096);
    assert!(saved.is_of_an_old_machine());
    assert_eq!(manifest.version, 3);
    let early = saved.early.as_ref().unwrap();
    assert_eq!(sent_again(early), early_sections());
    let devices = &early.devices;
    assert_eq!((devices[0].sections, devices[0].bytes), (4, 9000));
    assert_eq!(saved.tail, tail());
    assert_eq!(saved.packets.len(), 3);
    assert_eq!(saved.packets[2], DeviceState::new("vfio", 3, vec![9; 100]));
    let memory = saved.memory().unwrap();
    let lengths: Vec<_> = memory
        .blocks()
        .iter()
        .map(|block| (block.name().to_string(), block.len()))
        .collect();
    assert_eq!(
        lengths,
        [
            ("pc.ram".into(), 64 * 4096),
            ("/rom@etc/table".into(), 4096)
        ]
    );
    let mut page = [0; 4096];
    memory.blocks()[0]
        .span(5 * 4096, 4096)
        .unwrap()
        .copy_to(&mut page);
    assert_eq!(page, [5; 4096]);
}

/// What a source would send.
fn sent_again(early: &super::early_read::KeptEarly) -> Vec<EarlySection> {
    let mut sections = Vec::new();
    for place in EarlyPlace::ALL {
        let mut send = |part: EarlyPart<'_>| {
            match part {
                EarlyPart::Start { head, place } => sections.push(EarlySection {
                    head: head.clone(),
                    data: Vec::new(),
                    place,
                }),
                EarlyPart::Data(data) => sections.last_mut().unwrap().data.extend(data),
                EarlyPart::End => {}
            }
            Ok(())
        };
        early.send(place, &mut send).unwrap();
    }
    sections
}

#[test]
fn a_guest_without_such_sections_has_no_file_of_them() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    let mut saving = saving(&target);
    receive(&mut saving);
    saving.complete(&tail(), UUID, 65).unwrap();
    let files = ["devices.bin", "manifest.json", "ram", "unreleased"];
    assert_eq!(names(&target), files);
    let saved = Saved::open(&target).unwrap();
    assert!(saved.early.is_none());
    assert_eq!(saved.manifest.version, 1);
}

#[test]
fn a_failure_leaves_nothing() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    drop(saving(&target));
    assert_eq!(names(outer.path()), [""; 0]);
    let mut unfinished = saving(&target);
    receive(&mut unfinished);
    assert_eq!(names(outer.path()), ["guest.partial"]);
    drop(unfinished);
    assert_eq!(names(outer.path()), [""; 0]);

    let mut unlucky = saving(&target);
    receive(&mut unlucky);
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "").unwrap();
    assert!(unlucky.complete(&tail(), UUID, 65).is_err());
    drop(unlucky);
    assert_eq!(names(outer.path()), ["guest"]);
    assert_eq!(names(&target), ["mine"]);

    let mut huge = saving(&outer.path().join("huge"));
    let mut blocks = announced();
    blocks[1].used_length = 1 << 60;
    let error = huge
        .memory(&configuration(), PageSize::X86, &blocks)
        .unwrap_err()
        .to_string();
    assert!(error.contains("do not fit"), "{error}");
    drop(huge);
    assert_eq!(names(outer.path()), ["guest"]);
}

#[test]
fn a_whole_copy_stays_though_the_source_may_not_know() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    let mut saving = saving(&target);
    receive(&mut saving);
    saving.complete(&tail(), UUID, 65).unwrap();
    assert!(saving.is_complete());
    drop(saving);
    Saved::open(&target).unwrap();
}

#[test]
fn what_a_killed_process_left_is_replaced_and_nothing_else() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    let partial = outer.path().join("guest.partial");
    fs::create_dir_all(partial.join("ram")).unwrap();
    fs::write(partial.join("ram/00-pc.ram"), "half").unwrap();
    // As far as it came.
    fs::write(partial.join("manifest.json"), "{").unwrap();

    fs::write(partial.join("mine"), "").unwrap();
    let error = format!("{:#}", plan(&target).err().unwrap());
    assert!(error.contains("with mine in it"), "{error}");
    assert_eq!(names(&partial), ["manifest.json", "mine", "ram"]);
    fs::remove_file(partial.join("mine")).unwrap();

    let first = saving(&target);
    assert_eq!(names(&partial), [""; 0]);
    let error = format!("{:#}", plan(&target).err().unwrap());
    assert!(error.contains("another process"), "{error}");
    drop(first);
    assert_eq!(names(outer.path()), [""; 0]);
}

#[test]
fn a_whole_guest_is_never_taken_for_left_behind() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    let partial = outer.path().join("guest.partial");
    save(&partial);
    // One of a later version is a guest, too.
    for version in [1, 99] {
        edit(&partial, "version", json!(version));
        let error = format!("{:#}", plan(&target).err().unwrap());
        assert!(error.contains("a whole guest"), "{error}");
        assert_eq!(names(outer.path()), ["guest.partial"]);
    }
    edit(&partial, "version", json!(1));
    Saved::open(&partial).unwrap();
}

#[test]
fn an_existing_folder_is_left_alone() {
    let outer = TempDir::new().unwrap();
    save(&outer.path().join("guest"));
    symlink("nowhere", outer.path().join("link")).unwrap();
    for name in ["guest", "guest/", "guest/ram", "link", "link/", "/", ".."] {
        assert!(plan(&outer.path().join(name)).is_err(), "{name}");
    }
    assert_eq!(names(outer.path()), ["guest", "link"]);
}

#[test]
fn what_is_not_what_was_kept_is_found() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    save(&target);
    assert!(Saved::open(&target).unwrap().verify().unwrap());
    let flip = |name: &str, at: u64| {
        let mut options = fs::File::options();
        let file = options.read(true).write(true).open(target.join(name));
        let file = file.unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    };
    // In a page with content, in a hole, in the last byte, in a block that is all zero.
    for (name, at) in [
        ("ram/00-pc.ram", 4096 + 77),
        ("ram/00-pc.ram", 20 * 4096),
        ("ram/00-pc.ram", 64 * 4096 - 1),
        ("ram/01-_rom_etc_table", 0),
    ] {
        flip(name, at);
        // Its shape is all right.
        let error = format!("{:#}", Saved::open(&target).unwrap().verify().unwrap_err());
        assert!(
            error.contains(name) && error.contains("not what was kept"),
            "{error}"
        );
        flip(name, at);
    }
    assert!(Saved::open(&target).unwrap().verify().unwrap());
    for (name, at) in [
        ("device-packets.bin", 3 * 376 - 1),
        ("devices.bin", 0),
        ("early-sections.bin", 3000),
    ] {
        flip(name, at);
        let error = format!("{:#}", Saved::open(&target).err().unwrap());
        assert!(
            error.contains(name) && error.contains("not what was kept"),
            "{error}"
        );
        flip(name, at);
    }
    Saved::open(&target).unwrap();
}

#[test]
fn a_folder_without_checksums_is_read() {
    let outer = TempDir::new().unwrap();
    let target = outer.path().join("guest");
    save(&target);
    for of in [
        "blocks/0",
        "blocks/1",
        "devices",
        "device-packets",
        "early-sections",
    ] {
        let file = target.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let entry = manifest.pointer_mut(&format!("/{of}")).unwrap();
        assert!(entry.as_object_mut().unwrap().remove("crc32").is_some());
        fs::write(file, manifest.to_string()).unwrap();
    }
    let saved = Saved::open(&target).unwrap();
    assert!(!saved.verify().unwrap());
    assert_eq!(saved.packets.len(), 3);
}

#[test]
fn a_hostile_folder_is_an_error() {
    type Change = fn(&Path);
    let changes: &[(Change, &str)] = &[
        (
            |f| fs::remove_file(f.join("manifest.json")).unwrap(),
            "manifest.json",
        ),
        (
            |f| fs::write(f.join("manifest.json"), "{").unwrap(),
            "manifest.json",
        ),
        (
            |f| fs::write(f.join("manifest.json"), "[".repeat(100_000)).unwrap(),
            "manifest.json",
        ),
        (
            |f| fs::write(f.join("manifest.json"), vec![b' '; 17 << 20]).unwrap(),
            "more than",
        ),
        (|f| edit(f, "version", json!(99)), "version"),
        (|f| edit(f, "blocks", json!([])), "0 RAM blocks"),
        (
            |f| edit(f, "blocks/0/file", json!("../../etc/passwd")),
            "the file is",
        ),
        (
            |f| edit(f, "blocks/0/length", json!(u64::MAX - 4095)),
            "wanted 18446744073709547520",
        ),
        (|f| edit(f, "blocks/1/name", json!("pc.ram")), "the file is"),
        (|f| edit(f, "devices/bytes", json!(7)), "devices.bin"),
        (|f| edit(f, "devices/sections", json!(3)), "device sections"),
        (|f| edit(f, "device-packets/packets", json!(2)), "3 packets"),
        (
            |f| edit(f, "early-sections/sections", json!(5)),
            "4 sections, wanted 5",
        ),
        (
            |f| edit(f, "early-sections/bytes", json!(9000)),
            "early-sections.bin",
        ),
        (|f| edit(f, "ram-section-id", json!(7)), "RAM's"),
        (
            |f| fs::remove_file(f.join("early-sections.bin")).unwrap(),
            "early-sections.bin",
        ),
        (|f| link(f, "early-sections.bin"), "early-sections.bin"),
        (
            |f| fs::write(f.join("ram/00-pc.ram"), "short").unwrap(),
            "5 bytes",
        ),
        (
            |f| fs::remove_file(f.join("ram/01-_rom_etc_table")).unwrap(),
            "01-_rom_etc_table",
        ),
        (|f| link(f, "ram/00-pc.ram"), "00-pc.ram"),
        (|f| link(f, "devices.bin"), "devices.bin"),
        (|f| link(f, "ram"), "ram"),
        (
            |f| {
                edit(f, "devices/crc32", json!(null));
                fs::write(f.join("devices.bin"), "garble").unwrap();
            },
            "devices.bin",
        ),
        (
            |f| {
                edit(f, "device-packets/crc32", json!(null));
                fs::write(f.join("device-packets.bin"), vec![1; 3 * 376]).unwrap();
            },
            "packet at byte 0x0",
        ),
    ];
    for (change, want) in changes {
        let outer = TempDir::new().unwrap();
        let target = outer.path().join("guest");
        save(&target);
        change(&target);
        let error = Saved::open(&target).err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_else(|| panic!("{want}: no error"));
        assert!(error.contains(want), "wanted {want:?}: {error}");
    }
}

/// Changes a value of the manifest.
fn edit(folder: &Path, path: &str, value: Value) {
    let file = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    *manifest.pointer_mut(&format!("/{path}")).unwrap() = value;
    fs::write(file, manifest.to_string()).unwrap();
}

/// Moves a file or folder out, and puts a link to it in its place.
fn link(folder: &Path, name: &str) {
    let (path, outside) = (folder.join(name), folder.with_file_name("outside"));
    fs::rename(&path, &outside).unwrap();
    symlink(&outside, &path).unwrap();
}
