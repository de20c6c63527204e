// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the device does, and what becomes of pages that it fails at.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, anyhow, ensure};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts};
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{
    self, Guest, Integrity, Kind, PageSource, Subject, Verdict, fill, pack, setup, unpack,
};

use multifd_uadk::UadkFactory;

use crate::fake::{Fake, Log};

const PAGE: usize = 4096;

#[test]
fn the_device_does_both_sides() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Auto)?;
    // Runs, which it compresses; and what becomes larger, which goes as it is.
    let mut content = fill(3, PAGE, 30);
    let mut source = PageSource::new(4);
    for page in content.chunks_mut(PAGE).step_by(3) {
        source.fill(Kind::Random, page);
    }
    let moved = Moved::through(&method, &method, &content)?;
    ensure!(moved.bytes < content.len(), "{} bytes", moved.bytes);
    for counts in [moved.sent, moved.received] {
        ensure!(counts.packets(CodecPath::Hardware) == 3, "{counts:?}");
        ensure!(counts.packets(CodecPath::Software) == 0 && counts.all_fallbacks() == 0);
    }
    drop(method);
    fake.log()?.ensure_closed()
}

/// On a machine with a device it does the packets. `MULTIFD_UADK_LIBRARY` names its library, if it is not where the
/// system looks.
#[test]
fn a_real_device_does_all_packets() -> Result<()> {
    let mut options = MethodOptions::new();
    if let Some(library) = env::var(LIBRARY).ok().filter(|library| !library.is_empty()) {
        options = options.with(UadkFactory::LIBRARY_OPTION, library);
    }
    let method = UadkFactory::default().open(&options)?;
    if !method.implementation().is_hardware() {
        let why = format!("skipped: {}\n", method.implementation());
        return Ok(io::stdout().write_all(why.as_bytes())?);
    }
    for counts in Moved::hardware(&method)? {
        ensure!(counts.all_fallbacks() == 0, "{counts:?}");
    }
    Ok(())
}

const LIBRARY: &str = "MULTIFD_UADK_LIBRARY";

#[test]
fn what_every_method_does_is_done_with_a_device() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Hardware)?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))?;
    fake.log()?.ensure_closed()
}

#[test]
fn software_and_the_device_understand_each_other() -> Result<()> {
    let fake = Fake::new(&[])?;
    let (device, software) = (
        fake.open(Accelerator::Hardware)?,
        fake.open(Accelerator::Software)?,
    );
    let content = fill(5, PAGE, 30);
    let to_software = Moved::through(&device, &software, &content)?;
    ensure!(to_software.received.packets(CodecPath::Software) == 3);
    ensure!(to_software.received.all_fallbacks() == 0);

    let to_device = Moved::through(&software, &device, &content)?;
    ensure!(to_device.received.packets(CodecPath::Hardware) == 3);
    ensure!(to_device.received.all_fallbacks() == 0);
    Ok(())
}

/// This device refuses blocks with codes of their own, which are legal.
#[test]
fn what_the_device_does_not_take_is_done_in_software() -> Result<()> {
    let fake = Fake::new(&[])?;
    let page = b"not any two of them are the same! ".repeat(PAGE / 34 + 1);
    let page = page.get(..PAGE).context("a page")?;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(9));
    encoder.write_all(page)?;
    let stream = encoder.finish()?;
    // Bits 1 and 2 of deflate data are the kind of its first block: 2 has codes of its own.
    ensure!(stream.get(2).is_some_and(|byte| byte >> 1 & 3 == 2));
    let mut payload = u32::try_from(stream.len())?.to_be_bytes().to_vec();
    payload.extend(stream);

    let device = fake.open(Accelerator::Auto)?;
    let mut receiver = device.recv_setup(&setup(PageSize::X86)?)?;
    let (guest, target) = (
        Guest::with(PageSize::X86, page)?,
        Guest::untouched(PageSize::X86, 1)?,
    );
    unpack(&mut *receiver, &payload, &target, &[0])?.filled()?;
    target.ensure_received(&guest, &[0])?;
    let counts = receiver.paths().context("no counts")?;
    ensure!(counts.packets(CodecPath::Software) == 1, "{counts:?}");
    ensure!(counts.fallbacks(Fallback::Failed) == 1, "{counts:?}");
    Ok(())
}

/// A packet in which nothing is compressed is nothing for a device.
#[test]
fn pages_as_they_are_need_no_device() -> Result<()> {
    let fake = Fake::new(&[])?;
    let (device, software) = (
        fake.open(Accelerator::Hardware)?,
        fake.open(Accelerator::Software)?,
    );
    let mut content = vec![0; 30 * PAGE];
    PageSource::new(9).fill(Kind::Random, &mut content);
    let moved = Moved::through(&software, &device, &content)?;
    ensure!(
        moved.received.packets(CodecPath::Software) == 3,
        "{:?}",
        moved.received
    );
    ensure!(moved.received.all_fallbacks() == 0);
    Ok(())
}

#[test]
fn a_device_that_fails_is_replaced_and_counted() -> Result<()> {
    for (define, reason) in [
        (&["RESULT=-16"][..], Fallback::Busy),
        (&["RESULT=-22"], Fallback::Unsupported),
        (&["STATUS=66"], Fallback::NoRoom),
        (&["STATUS=67"], Fallback::Failed),
        (&["LIE=1"], Fallback::Failed),
        (&["NO_QUEUES=1", "RESULT=-16"], Fallback::Busy),
        (&["NO_QUEUES=1", "STATUS=67"], Fallback::Failed),
    ] {
        let (fake, [sent, received]) = fail_in_the_first_packet(define)?;
        for counts in [sent, received] {
            ensure!(counts.fallbacks(reason) == 3, "{define:?}: {counts:?}");
            ensure!(counts.all_fallbacks() == 3, "{define:?}: {counts:?}");
        }
        fake.log()?
            .ensure_closed()
            .with_context(|| format!("{define:?}"))?;
    }
    Ok(())
}

/// It may still write then: what it was given is kept, and so is the library's state. Nothing more is
/// asked of it.
#[test]
fn a_device_that_does_not_finish_is_left_alone() -> Result<()> {
    for (define, reason) in [
        (&["RESULT=-5"][..], Fallback::Failed),
        (&["RESULT=-62"], Fallback::NoDevice),
        (&["POLL_RESULT=-5"], Fallback::Failed),
        (&["POLL_RESULT=-62"], Fallback::NoDevice),
        (&["NO_QUEUES=1", "RESULT=-22"], Fallback::Failed),
        (&["NO_QUEUES=1", "RESULT=-62"], Fallback::NoDevice),
        (&["NO_QUEUES=1", "RESULT=-110"], Fallback::NoDevice),
    ] {
        let (fake, [sent, received]) = fail_in_the_first_packet(define)?;
        for counts in [sent, received] {
            ensure!(counts.fallbacks(reason) >= 1, "{define:?}: {counts:?}");
            ensure!(
                counts.fallbacks(Fallback::NoDevice) == 3,
                "{define:?}: {counts:?}"
            );
        }
        let log = fake.log()?;
        ensure!(log.count("uninit") == 0, "{define:?}: {log:?}");
        ensure!(
            log.count("alloc") == log.count("free") + 2,
            "{define:?}: {log:?}"
        );
    }
    Ok(())
}

/// Three packets through a device that fails for good at the sixth page. They arrive.
fn fail_in_the_first_packet(define: &[&str]) -> Result<(Fake, [PathCounts; 2])> {
    // The trial takes two.
    let fake = Fake::new(&[&["GOOD_REQUESTS=7"], define].concat())?;
    let method = fake.open(Accelerator::Auto)?;
    let moved = Moved::through(&method, &method, &fill(3, PAGE, 30))
        .with_context(|| format!("{define:?}"))?;
    for counts in [moved.sent, moved.received] {
        ensure!(
            counts.packets(CodecPath::Software) == 3,
            "{define:?}: {counts:?}"
        );
    }
    Ok((fake, [moved.sent, moved.received]))
}

#[test]
fn several_pages_are_with_the_device_at_a_time() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Hardware)?;
    for counts in Moved::hardware(&method)? {
        ensure!(counts.all_fallbacks() == 0, "{counts:?}");
    }
    let log = fake.log()?;
    ensure!(log.count("at work: 2") == 1, "{log:?}");
    ensure!(log.count("at work: 9") == 0, "{log:?}");
    drop(method);
    fake.log()?.ensure_closed()
}

/// A queue that others have left a single place in.
#[test]
fn the_oldest_page_makes_room_in_a_full_queue() -> Result<()> {
    let fake = Fake::new(&["DEPTH=1"])?;
    for counts in Moved::hardware(&fake.open(Accelerator::Auto)?)? {
        ensure!(counts.all_fallbacks() == 0, "{counts:?}");
    }
    ensure!(fake.log()?.count("at work: 2") == 0);
    fake.log()?.ensure_closed()
}

/// An administrator can leave the library without queues for requests that nobody waits for.
#[test]
fn without_queues_each_page_is_waited_for() -> Result<()> {
    let fake = Fake::new(&["NO_QUEUES=1"])?;
    let method = fake.open(Accelerator::Hardware)?;
    for counts in Moved::hardware(&method)? {
        ensure!(counts.all_fallbacks() == 0, "{counts:?}");
    }
    let mode = |log: &Log, mode: &str| log.0.iter().filter(|line| line.contains(mode)).count();
    let log = fake.log()?;
    // The trial tries it the other way first.
    ensure!(
        (mode(&log, "mode 1"), mode(&log, "mode 0")) == (1, 4),
        "{log:?}"
    );
    drop(method);
    fake.log()?.ensure_closed()
}

/// Whoever polls hears of the others' pages, too. The stand-in ends the process when two do so at a time.
#[test]
fn channels_share_the_device() -> Result<()> {
    let fake = Fake::new(&["NANOSECONDS=20000"])?;
    let method = fake.open(Accelerator::Hardware)?;
    thread::scope(|scope| {
        let channel =
            |_| scope.spawn(|| (0..5).try_for_each(|_| Moved::hardware(&method).map(drop)));
        let channels: Vec<_> = (0..4).map(channel).collect();
        channels
            .into_iter()
            .try_for_each(|channel| channel.join().map_err(|_| anyhow!("a channel panicked"))?)
    })?;
    drop(method);
    fake.log()?.ensure_closed()
}

/// What a channel has left with the device may still be done, and is then told to the channel that polls.
#[test]
fn what_is_done_too_late_harms_nobody() -> Result<()> {
    let fake = Fake::new(&["GOOD_REQUESTS=2", "SILENT=1"])?;
    let method = fake.open(Accelerator::Auto)?;
    let guest = Guest::with(PageSize::X86, &[7; 3 * PAGE])?;
    let setup = setup(PageSize::X86)?.with_accelerator_limit(Duration::from_millis(20));
    let mut silent = method.send_setup(&setup)?;
    pack(&mut *silent, &guest, &guest.offsets())?;
    let counts = silent.paths().context("no counts")?;
    ensure!(counts.fallbacks(Fallback::NoDevice) == 1, "{counts:?}");
    drop(silent);
    // Where its memory was, if it was freed.
    let others: Vec<_> = (0..64).map(|_| vec![1u8; 2 * PAGE]).collect();

    fs::write(fake.library.log().with_extension("go"), "")?;
    let start = Instant::now();
    while fake.log()?.count("told late") == 0 {
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "nothing was told late"
        );
        Moved::through(&method, &method, &[7; PAGE])?;
    }
    ensure!(
        others.iter().flatten().all(|byte| *byte == 1),
        "somebody wrote to it"
    );
    Ok(())
}

/// The device's checksum is compared by its user.
#[test]
fn pages_that_the_device_damages_are_done_again() -> Result<()> {
    let fake = Fake::new(&["GOOD_REQUESTS=2", "CORRUPT=1"])?;
    let (device, software) = (
        fake.open(Accelerator::Auto)?,
        fake.open(Accelerator::Software)?,
    );
    // Runs of one byte, for a device that knows fixed codes only.
    let content: Vec<u8> = (0..30u8).flat_map(|number| vec![number; PAGE]).collect();
    let moved = Moved::through(&software, &device, &content)?;
    ensure!(
        moved.received.fallbacks(Fallback::Failed) == 3,
        "{:?}",
        moved.received
    );
    Ok(())
}

/// A checksum that is wrong is the peer's fault, though the device does not mind it.
#[test]
fn wrong_checksums_are_refused_with_a_device() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Hardware)?;
    let guest = Guest::with(PageSize::X86, &[7; PAGE])?;
    let setup = setup(PageSize::X86)?;
    let mut payload = pack(&mut *method.send_setup(&setup)?, &guest, &[0])?;
    *payload.last_mut().context("a checksum")? ^= 1;
    let verdict = unpack(&mut *method.recv_setup(&setup)?, &payload, &guest, &[0])?;
    ensure!(
        matches!(&verdict, Verdict::Refused(error) if error.contains("checksum")),
        "{verdict:?}"
    );
    Ok(())
}

#[test]
fn a_channel_without_a_session_is_counted_or_refused() -> Result<()> {
    let fake = Fake::new(&["MOST_SESSIONS=2"])?;
    let setup = setup(PageSize::X86)?;
    let auto = fake.open(Accelerator::Auto)?;
    let taken = (auto.send_setup(&setup)?, auto.recv_setup(&setup)?);
    let moved = Moved::through(&auto, &auto, &fill(3, PAGE, 30))?;
    for counts in [moved.sent, moved.received] {
        ensure!(counts.fallbacks(Fallback::NoDevice) == 3, "{counts:?}");
        ensure!(counts.packets(CodecPath::Software) == 3, "{counts:?}");
    }
    drop((taken, auto));

    let hardware = fake.open(Accelerator::Hardware)?;
    let _taken = (hardware.send_setup(&setup)?, hardware.recv_setup(&setup)?);
    let error = hardware
        .send_setup(&setup)
        .err()
        .context("a third session")?;
    ensure!(error.to_string().contains("gives no session"), "{error}");
    Ok(())
}

/// Memory that went through two channels, in packets of ten pages.
struct Moved {
    bytes: usize,
    sent: PathCounts,
    received: PathCounts,
}

impl Moved {
    /// Memory of which the device does each page, both ways.
    fn hardware(method: &Arc<dyn MultifdMethods>) -> Result<[PathCounts; 2]> {
        let content: Vec<u8> = (0..30u8).flat_map(|number| vec![number; PAGE]).collect();
        let moved = Self::through(method, method, &content)?;
        for counts in [moved.sent, moved.received] {
            ensure!(counts.packets(CodecPath::Hardware) == 3, "{counts:?}");
        }
        Ok([moved.sent, moved.received])
    }

    fn through(
        from: &Arc<dyn MultifdMethods>,
        to: &Arc<dyn MultifdMethods>,
        content: &[u8],
    ) -> Result<Self> {
        let setup = setup(PageSize::X86)?;
        let guest = Guest::with(PageSize::X86, content)?;
        let target = Guest::untouched(PageSize::X86, content.len() / PAGE)?;
        let (mut sender, mut receiver) = (from.send_setup(&setup)?, to.recv_setup(&setup)?);
        let mut bytes = 0;
        for offsets in guest.offsets().chunks(10) {
            let payload = pack(&mut *sender, &guest, offsets)?;
            unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
            bytes += payload.len();
        }
        target.ensure_received(&guest, &guest.offsets())?;
        Ok(Self {
            bytes,
            sent: sender.paths().context("no counts")?,
            received: receiver.paths().context("no counts")?,
        })
    }
}
