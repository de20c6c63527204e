// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A device that works, fails and is busy, as libqatzip tells of it. The library stands in for the real
//! one, since these machines have no device.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts};
use multifd_core::{Fault, MethodFactory as _, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{
    self, Guest, Integrity, Kind, PageSource, Subject, Verdict, fill, pack, pack_all, setup,
    unpack, unpack_all,
};
use multifd_tests::stand_in::StandIn;

use crate::forms;
use crate::members::{PAGE, PER_PACKET, content, open, qz};

#[test]
fn a_device_does_what_every_method_has_to_do() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let method = hardware(&library)?;
    let implementation = method.implementation();
    ensure!(implementation.is_hardware() && implementation.fallback.is_some());
    ensure!(implementation.library.as_deref() == Some("libqatzip.so.3"));
    // What is damaged leaves the device at work, until there is no memory left for it: then software goes on.
    let method = choose(&library, "auto")?;
    conformance::check(&Subject::new(method, Integrity::Checked))
}

/// Nothing else is given to a device.
#[test]
fn a_device_without_memory_that_it_reaches_is_not_used() -> Result<()> {
    let library = StandIn::qatzip(&["NO_PINNED"])?;
    let why = "no memory left that the QAT device reaches";
    let error = choose(&library, "hardware").err().context(why)?.to_string();
    ensure!(error.contains(why), "{error}");
    let auto = choose(&library, "auto")?;
    let implementation = auto.implementation().to_string();
    ensure!(implementation.contains(why), "{implementation}");
    let guest = Guest::with(PageSize::X86, &content())?;
    let payloads = pack_all(&*auto, &guest, PER_PACKET)?;
    unpack_all(&*auto, &payloads, &guest, PER_PACKET)?.filled()
}

#[test]
fn a_device_gets_only_what_it_takes() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    forms::check_legal(&*choose(&library, "auto")?)?;
    for choice in ["auto", "hardware"] {
        let method = choose(&library, choice)?;
        forms::check_refused(&*method).context(choice)?;
        forms::check_too_many(&*method).context(choice)?;
    }
    Ok(())
}

/// What it makes is read by software, and what software makes it reads where it can.
#[test]
fn a_device_and_software_meet() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let (device, software) = (choose(&library, "auto")?, open(1, &MethodOptions::new())?);
    let guest = Guest::with(PageSize::X86, &fill(16, PAGE, 300))?;
    for (from, to) in [(&device, &software), (&software, &device)] {
        let payloads = pack_all(&**from, &guest, 128)?;
        unpack_all(&**to, &payloads, &guest, 128)?.filled()?;
    }
    Ok(())
}

#[test]
fn packets_are_counted_by_who_did_them() -> Result<()> {
    // Calls for packets: of the sender and the receiver in turn.
    for (faults, choice, sender, receiver) in [
        (
            vec![],
            "hardware",
            counts(3, 0, 0, &[]),
            counts(3, 0, 0, &[]),
        ),
        (
            vec!["ANSWERS=0,0,-103,0,0"],
            "auto",
            counts(2, 0, 1, &[Fallback::Busy]),
            counts(3, 0, 0, &[]),
        ),
        // The device may still be at work after a failure, but for those that come before a request.
        (
            vec!["ANSWERS=-3,0,0,-116,0,0"],
            "auto",
            counts(0, 0, 3, &lost(Fallback::NoRoom)),
            counts(2, 0, 1, &[Fallback::Unsupported]),
        ),
        (
            vec!["ANSWERS=-2,-5"],
            "auto",
            counts(0, 0, 3, &lost(Fallback::Failed)),
            counts(0, 0, 3, &lost(Fallback::Failed)),
        ),
        (
            vec!["AFTER=2", "THEN=-2"],
            "auto",
            counts(1, 0, 2, &lost(Fallback::Failed)[..2]),
            counts(1, 0, 2, &lost(Fallback::Failed)[..2]),
        ),
        (
            vec!["ANSWERS=-2,-101"],
            "library",
            counts(0, 3, 0, &lost(Fallback::Failed)),
            counts(0, 3, 0, &[Fallback::Unsupported; 3]),
        ),
        (
            vec!["NO_DEVICE"],
            "library",
            counts(0, 3, 0, &[]),
            counts(0, 3, 0, &[]),
        ),
        // The library does it in software without a word: what it made tells.
        (
            vec!["SOFTWARE"],
            "auto",
            counts(0, 3, 0, &[]),
            counts(0, 0, 3, &[Fallback::Unsupported; 3]),
        ),
    ] {
        let library = StandIn::qatzip(&faults)?;
        let method = choose(&library, choice)?;
        let (sent, received) = migrate(&*method)?;
        ensure!(
            sent == sender,
            "{faults:?}: sent {sent:?}, wanted {sender:?}"
        );
        ensure!(
            received == receiver,
            "{faults:?}: received {received:?}, wanted {receiver:?}"
        );
    }
    Ok(())
}

/// A sender without a device writes one member for all of a packet.
#[test]
fn long_members_are_for_software() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let method = choose(&library, "auto")?;
    let content = content();
    let packet = content.get(..PAGE * PER_PACKET).context("a packet")?;
    let guest = Guest::with(PageSize::X86, packet)?;
    let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
    unpack(&mut *receiver, &qz(packet, 1)?, &guest, &guest.offsets())?.filled()?;
    let want = counts(0, 0, 1, &[Fallback::Unsupported]);
    ensure!(receiver.paths() == Some(want), "{:?}", receiver.paths());

    let mut receiver = hardware(&library)?.recv_setup(&setup(PageSize::X86)?)?;
    let verdict = unpack(&mut *receiver, &qz(packet, 1)?, &guest, &guest.offsets())?;
    let want = "accelerator=hardware, but the device did not do a packet: a member of 163840 bytes";
    ensure!(
        matches!(&verdict, Verdict::Refused(error) if error.contains(want)),
        "{verdict:?}"
    );
    Ok(())
}

/// A device that fails, is busy for good, or leaves its work to software ends a migration that is to be done by
/// it. The error says why.
#[test]
fn hardware_means_every_packet() -> Result<()> {
    for (faults, why) in [
        (vec!["AFTER=4", "THEN=-2"], "failed without a reason"),
        (vec!["AFTER=4", "THEN=-103"], "no free instance"),
        (vec!["AFTER=4", "THEN=-116"], "does not know"),
        (vec!["AFTER=4", "THEN=SILENT"], "has been silent for 3 s"),
        (vec!["SOFTWARE"], "the library did it in software"),
    ] {
        let library = StandIn::qatzip(&faults)?;
        let method = hardware(&library)?;
        let error = migrate_by(&*method, LIMIT).err();
        let error = format!("{:#}", error.with_context(|| format!("{faults:?}"))?);
        ensure!(
            error.contains("accelerator=hardware, but the device did not do a packet: ")
                && error.contains(why),
            "{faults:?}: {error}"
        );
    }
    Ok(())
}

/// The library's calls never return then. The channel goes on without its device, and its end waits for nothing.
#[test]
fn a_silent_device_is_left_alone() -> Result<()> {
    let library = StandIn::qatzip(&["AFTER=3", "THEN=SILENT"])?;
    let (sent, received) = migrate_by(&*choose(&library, "auto")?, LIMIT)?;
    ensure!(
        sent == counts(2, 0, 1, &[Fallback::NoDevice]),
        "sent {sent:?}"
    );
    ensure!(
        received == counts(1, 0, 2, &[Fallback::NoDevice; 2]),
        "received {received:?}"
    );
    Ok(())
}

/// What the library answers while others have all instances, it also answers once the device has failed.
#[test]
fn a_device_is_not_busy_for_ever() -> Result<()> {
    let library = StandIn::qatzip(&["AFTER=1", "THEN=-103"])?;
    let method = choose(&library, "auto")?;
    let mut sender = method.send_setup(&setup(PageSize::X86)?)?;
    let guest = Guest::with(PageSize::X86, &random(2))?;
    for _ in 0..101 {
        pack(&mut *sender, &guest, &guest.offsets())?;
    }
    let paths = sender.paths().context("paths")?;
    ensure!(paths.packets(CodecPath::Hardware) == 1, "{paths:?}");
    ensure!(paths.packets(CodecPath::Software) == 100, "{paths:?}");
    ensure!(paths.fallbacks(Fallback::Busy) == 64, "{paths:?}");
    ensure!(paths.fallbacks(Fallback::NoDevice) == 36, "{paths:?}");
    Ok(())
}

/// One bad member of eight: the library returns at once, and the device goes on with the others. The stand-in
/// ends the process if that memory is used again, and writes to it all the while.
#[test]
fn what_a_device_still_writes_to_is_nobodys() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let method = choose(&library, "auto")?;
    let content = random(128);
    let guest = Guest::with(PageSize::X86, &content)?;
    let members = content.chunks(64 * 1024).map(|part| qz(part, 0));
    let mut hostile = members.collect::<Result<Vec<_>>>()?.concat();
    // A kind of block that there is none of.
    *hostile.get_mut(24).context("a block")? = 7;
    for _ in 0..3 {
        let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
        let verdict = unpack(&mut *receiver, &hostile, &guest, &guest.offsets())?;
        ensure!(
            matches!(&verdict, Verdict::Refused(error) if error.contains("bad deflate data")),
            "{verdict:?}"
        );
        // The migration ends, and others go on and come.
        drop(receiver);
        for _ in 0..20 {
            let counted = migrate(&*method)?;
            ensure!(counted == (counts(3, 0, 0, &[]), counts(3, 0, 0, &[])));
        }
    }
    let events = library.events()?;
    let count = |event: &str| events.iter().filter(|line| *line == event).count();
    ensure!(count("left at work") == 3, "{events:?}");
    ensure!(count("rebuild") == 0, "{events:?}");
    Ok(())
}

/// The library takes an address for one that the device reaches if it ever was.
#[test]
fn a_second_migration_gives_the_device_no_stale_address() -> Result<()> {
    let library = StandIn::qatzip(&["ANSWERS=0,0,-2"])?;
    for _ in 0..3 {
        // Each opens the library anew, as another migration of the process does; the first ends in an error.
        let method = hardware(&library)?;
        let _ = migrate(&*method);
        // What comes to lie where that migration's memory was.
        let others: Vec<_> = (0..64).map(|byte| vec![byte; 256 * 1024]).collect();
        let threads: Vec<_> = others
            .into_iter()
            .map(|memory| thread::spawn(move || memory.len()))
            .collect();
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
    let events = library.events()?;
    let count = |start: &str| events.iter().filter(|line| line.starts_with(start)).count();
    ensure!(
        count("freed") == 0 && count("left at work") == 1,
        "{events:?}"
    );
    // Three for the trial, two for each of two channels; the two of the call that failed are replaced once.
    ensure!(count("pinned") <= 9, "{events:?}");
    Ok(())
}

/// The library looks for a device with every call, and loses a thread key each time.
#[test]
fn a_library_that_loses_thread_keys_needs_a_device() -> Result<()> {
    let library = StandIn::qatzip(&["NO_DEVICE", "LOSES_KEYS"])?;
    let error = choose(&library, "library").err().context("opened")?;
    let error = error.to_string();
    ensure!(
        error.contains("accelerator=library, but ") && error.contains("1024 thread keys"),
        "{error}"
    );
    let options = options(&library, "library").with("qatzip-without-device", "allow");
    let counted = migrate(&*open(1, &options)?)?;
    ensure!(counted == (counts(0, 3, 0, &[]), counts(0, 3, 0, &[])));
    // With a device it loses none.
    choose(&StandIn::qatzip(&["LOSES_KEYS"])?, "library")?;
    Ok(())
}

/// Each channel has sessions of its own, on its own thread: the library would refuse others.
#[test]
fn channels_are_independent() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let method = hardware(&library)?;
    thread::scope(|scope| {
        let channels: Vec<_> = (0..4).map(|_| scope.spawn(|| migrate(&*method))).collect();
        for channel in channels {
            let counted = channel.join().map_err(|_| anyhow::anyhow!("a panic"))??;
            ensure!(counted == (counts(3, 0, 0, &[]), counts(3, 0, 0, &[])));
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_used_is_refused_or_left() -> Result<()> {
    for (faults, why) in [
        (
            ["NO_DEVICE"],
            "no QAT device, or no access to it (QZ_NOSW_NO_HW, -101)",
        ),
        (["NO_INSTANCE"], "no free instance of a QAT device"),
        (["LAYOUT"], "is not a libqatzip that is known (1.1 to 2.0)"),
    ] {
        let library = StandIn::qatzip(&faults)?;
        let error = choose(&library, "hardware").err().context(why)?.to_string();
        ensure!(
            error.contains(why) && error.contains("What may be missing: "),
            "{error}"
        );
        let auto = choose(&library, "auto")?.implementation().to_string();
        ensure!(
            auto.starts_with("software (") && auto.contains(why),
            "{auto}"
        );
    }
    Ok(())
}

#[test]
fn a_library_that_is_not_there_is_named() -> Result<()> {
    let file = "/nonexistent/libqatzip.so.3";
    let options = MethodOptions::new().with("qatzip-library", file);
    for choice in [Accelerator::Hardware, Accelerator::Library] {
        let options = options.clone().with(Accelerator::OPTION, choice);
        let error = multifd_qatzip::QatzipFactory.open(&options).err();
        let error = error.context("no error")?;
        ensure!(error.fault() == Fault::Device);
        let text = error.to_string();
        ensure!(
            text.contains(file) && text.contains("install libqatzip"),
            "{text}"
        );
    }
    let auto = open(1, &options)?.implementation().to_string();
    ensure!(auto.contains(file), "{auto}");
    let software = options.with(Accelerator::OPTION, Accelerator::Software);
    let software = open(1, &software)?.implementation().to_string();
    ensure!(
        software.starts_with("software (") && !software.contains(file),
        "{software}"
    );
    Ok(())
}

/// Two whole packets and a half there and back; who did them at each side. Our software stores them,
/// and so the stand-in reads what it made.
fn migrate(method: &dyn MultifdMethods) -> Result<(PathCounts, PathCounts)> {
    migrate_by(method, Duration::from_secs(60))
}

/// As [`migrate`], with a device that may be silent for so long.
fn migrate_by(method: &dyn MultifdMethods, limit: Duration) -> Result<(PathCounts, PathCounts)> {
    let guest = Guest::with(PageSize::X86, &random(PER_PACKET * 5 / 2))?;
    let target = Guest::untouched(PageSize::X86, guest.offsets().len())?;
    let setup = setup(PageSize::X86)?.with_accelerator_limit(limit);
    let mut sender = method.send_setup(&setup)?;
    let mut receiver = method.recv_setup(&setup)?;
    for offsets in guest.offsets().chunks(PER_PACKET) {
        let payload = pack(&mut *sender, &guest, offsets)?;
        unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
    }
    target.ensure_received(&guest, &guest.offsets())?;
    Ok((
        sender.paths().context("the sender counts")?,
        receiver.paths().context("the receiver counts")?,
    ))
}

/// Pages that software stores.
fn random(pages: usize) -> Vec<u8> {
    let mut content = vec![0; PAGE * pages];
    PageSource::new(17).fill(Kind::Random, &mut content);
    content
}

/// Why three packets fell back of which the first lost the device.
fn lost(first: Fallback) -> [Fallback; 3] {
    [first, Fallback::NoDevice, Fallback::NoDevice]
}

fn counts(hardware: u64, vendor: u64, software: u64, fallbacks: &[Fallback]) -> PathCounts {
    let mut counts = PathCounts::default();
    for (path, packets) in [
        (CodecPath::Hardware, hardware),
        (CodecPath::VendorSoftware, vendor),
        (CodecPath::Software, software),
    ] {
        (0..packets).for_each(|_| counts.count(path));
    }
    fallbacks
        .iter()
        .for_each(|reason| counts.fell_back(*reason));
    counts
}

fn hardware(library: &StandIn) -> Result<Arc<dyn MultifdMethods>> {
    choose(library, "hardware")
}

fn choose(library: &StandIn, choice: &str) -> Result<Arc<dyn MultifdMethods>> {
    open(1, &options(library, choice))
}

fn options(library: &StandIn, choice: &str) -> MethodOptions {
    MethodOptions::new()
        .with("qatzip-library", library.path().display())
        .with(Accelerator::OPTION, choice)
}

/// How long a device may be silent that is.
const LIMIT: Duration = Duration::from_secs(3);
