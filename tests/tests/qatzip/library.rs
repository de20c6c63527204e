// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The real libqatzip, in its own software where there is no device.

use std::fs::File;
use std::io::{self, Write as _};

use anyhow::{Context, Result, ensure};
use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts};
use multifd_core::{Fault, MethodFactory as _, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::recorded::{Folder, packets};
use multifd_tests::conformance::{
    self, Guest, Integrity, Kind, PageSource, Subject, fill, pack, pack_all, round_trip, setup,
    unpack, unpack_all,
};
use multifd_tests::vendor_library;

use crate::forms;
use crate::members::{PAGE, content, open, plain};

#[test]
fn it_does_what_every_method_has_to_do() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    conformance::check(&Subject::new(open(1, &options)?, Integrity::Checked))
}

#[test]
fn every_level_round_trips() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    for level in 1..=9 {
        let subject = Subject::new(open(level, &options)?, Integrity::Checked);
        round_trip::check_channel(&subject).with_context(|| format!("level {level}"))?;
    }
    Ok(())
}

/// What the library makes our software reads, and the other way round, at every level, with pages of
/// every kind and with all kinds mixed.
#[test]
fn both_sides_may_be_either() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    let most = PageSize::X86.pages_per_packet();
    let kinds = Kind::ALL.map(|kind| {
        let mut pages = vec![0; PAGE * (most + 17)];
        let mut source = PageSource::new(8);
        for page in pages.chunks_mut(PAGE) {
            source.fill(kind, page);
        }
        (format!("{kind:?}"), pages)
    });
    let mixed = ("mixed".to_owned(), fill(14, PAGE, most + 17));
    for (name, pages) in kinds.into_iter().chain([mixed]) {
        let guest = Guest::with(PageSize::X86, &pages)?;
        for level in 1..=9 {
            let (theirs, ours) = (open(level, &options)?, open(level, &software())?);
            for (from, to, what) in [
                (&theirs, &ours, "from the library"),
                (&ours, &theirs, "to the library"),
            ] {
                let payloads = pack_all(&**from, &guest, most)?;
                unpack_all(&**to, &payloads, &guest, most)?
                    .filled()
                    .with_context(|| format!("{name} pages, level {level}, {what}"))?;
            }
        }
    }
    Ok(())
}

/// Without a device the library writes one member for each packet, and our software one for each
/// 64 KiB. Both were sent by the test above; this says that they differ.
#[test]
fn the_library_writes_long_members() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    let theirs = open(1, &options)?;
    if theirs.implementation().is_hardware() {
        return tell("a QAT device makes short members");
    }
    let guest = Guest::with(PageSize::X86, &fill(15, PAGE, 128))?;
    let content_of_first = |method: &dyn MultifdMethods| -> Result<u32> {
        let payloads = pack_all(method, &guest, 128)?;
        let field = payloads.first().and_then(|payload| payload.get(16..20));
        Ok(u32::from_le_bytes(field.context("a header")?.try_into()?))
    };
    ensure!(content_of_first(&*theirs)? == 128 * 4096);
    ensure!(content_of_first(&*open(1, &software())?)? <= 64 * 1024);
    Ok(())
}

/// What a real QEMU with libqatzip sent.
#[test]
fn the_recorded_migration_is_received() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    let method = open(1, &options)?;
    let source = Guest::with(PageSize::X86, &Folder::memory()?)?;
    let target = Guest::new(PageSize::X86, source.offsets().len())?;
    for channel in 0..2 {
        let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
        let mut count = 0;
        for packet in packets(&Folder::new("qatzip-qemu-10.2").channel(channel)?)? {
            if !packet.normal.is_empty() {
                count += 1;
                unpack(&mut *receiver, &packet.payload, &target, &packet.normal)?.filled()?;
            }
        }
        let counts = receiver.paths().context("paths")?;
        ensure!(counts.packets(CodecPath::Software) == 0, "{counts:?}");
        ensure!(
            counts.packets(CodecPath::VendorSoftware) + counts.packets(CodecPath::Hardware)
                == count
        );
    }
    target.ensure_received(&source, &source.offsets())
}

#[test]
fn members_of_other_senders_are_received() -> Result<()> {
    match library()? {
        Some(options) => forms::check_legal(&*open(1, &options)?),
        None => Ok(()),
    }
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    forms::check_refused(&*open(1, &options)?)?;
    forms::check_too_many(&*open(1, &options)?)
}

/// Each packet is counted once, by who did it; one that the library is not shown has a reason.
#[test]
fn packets_are_counted_by_who_did_them() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    let method = open(1, &options)?;
    if method.implementation().is_hardware() {
        return tell("a QAT device does the packets");
    }
    let guest = Guest::with(PageSize::X86, &content())?;
    let offsets = guest.offsets();
    let mut sender = method.send_setup(&setup(PageSize::X86)?)?;
    let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
    let target = Guest::untouched(PageSize::X86, offsets.len())?;
    let mut packets = 0;
    for offsets in offsets.chunks(7) {
        let payload = pack(&mut *sender, &guest, offsets)?;
        unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
        packets += 1;
    }
    target.ensure_received(&guest, &offsets)?;
    let mut want = PathCounts::default();
    (0..packets).for_each(|_| want.count(CodecPath::VendorSoftware));
    ensure!(sender.paths() == Some(want), "{:?}", sender.paths());
    ensure!(receiver.paths() == Some(want), "{:?}", receiver.paths());

    // Legal, but not what QATzip writes.
    let page = content().get(..PAGE).context("a page")?.to_vec();
    unpack(&mut *receiver, &plain(&page, 1)?, &target, &[0])?.filled()?;
    want.count(CodecPath::Software);
    want.fell_back(Fallback::Unsupported);
    ensure!(receiver.paths() == Some(want), "{:?}", receiver.paths());
    Ok(())
}

/// On a machine with a device it does the packets, and not something else that passes for it.
#[test]
fn a_device_does_all_packets() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    let options = options.with(Accelerator::OPTION, Accelerator::Auto);
    let method = open(1, &options)?;
    if !method.implementation().is_hardware() {
        return tell("this machine has no QAT device");
    }
    let guest = Guest::with(PageSize::X86, &content())?;
    let target = Guest::untouched(PageSize::X86, guest.offsets().len())?;
    let mut sender = method.send_setup(&setup(PageSize::X86)?)?;
    let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
    let mut packets = 0;
    for offsets in guest.offsets().chunks(40) {
        let payload = pack(&mut *sender, &guest, offsets)?;
        unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
        packets += 1;
    }
    target.ensure_received(&guest, &guest.offsets())?;
    for paths in [sender.paths(), receiver.paths()] {
        let paths = paths.context("paths")?;
        ensure!(
            packets > 0 && paths.packets(CodecPath::Hardware) == packets,
            "{packets} packets: {paths:?}"
        );
    }
    Ok(())
}

/// A host without a device says so, and what may be missing.
#[test]
fn hardware_that_is_not_there_is_refused() -> Result<()> {
    let Some(options) = library()? else {
        return Ok(());
    };
    let auto = open(
        1,
        &options.clone().with(Accelerator::OPTION, Accelerator::Auto),
    )?;
    let hardware = options.with(Accelerator::OPTION, Accelerator::Hardware);
    match multifd_qatzip::QatzipFactory.open(&hardware) {
        Ok(method) => tell(&format!("this machine has {}", method.implementation())),
        Err(error) => {
            ensure!(error.fault() == Fault::Device);
            let text = error.to_string();
            ensure!(text.contains("QZ_NOSW_"), "{text}");
            ensure!(text.contains("What may be missing: "), "{text}");
            let auto = auto.implementation();
            let why = auto.why.as_deref().unwrap_or_default();
            ensure!(
                auto.path == CodecPath::Software && why.contains("QZ_NOSW_"),
                "{auto}"
            );
            Ok(())
        }
    }
}

/// The options for the library on this machine; `None` if a test may do without.
fn library() -> Result<Option<MethodOptions>> {
    let Some(file) = vendor_library::require("qatzip")? else {
        return Ok(None);
    };
    // libqat tells stderr with every packet that there is no device. What a test has to say goes
    // through the harness.
    rustix::stdio::dup2_stderr(File::options().write(true).open("/dev/null")?)?;
    let options = MethodOptions::new()
        .with("qatzip-library", file)
        .with("qatzip-without-device", "allow");
    Ok(Some(
        options.with(Accelerator::OPTION, Accelerator::Library),
    ))
}

/// Says why a test has nothing to look at here, past the harness's capture.
fn tell(why: &str) -> Result<()> {
    io::stdout().write_all(format!("skipped: {why}\n").as_bytes())?;
    Ok(())
}

fn software() -> MethodOptions {
    MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software)
}
