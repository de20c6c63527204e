//! A device that works, fails and is busy, as libqatzip tells of it. The library stands in for the real
//! one, since these machines have no device.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts};
use multifd_core::{Fault, MethodFactory as _, MethodOptions, MultifdMethods, PageSize};
use multifd_tests::conformance::{
    self, Guest, Integrity, Kind, PageSource, Subject, fill, pack, pack_all, setup, unpack,
    unpack_all,
};
use multifd_tests::stand_in::StandIn;

use crate::forms;
use crate::members::{PAGE, PER_PACKET, content, open, qz};

#[test]
fn a_device_does_what_every_method_has_to_do() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let method = hardware(&library)?;
    ensure!(method.implementation() == "hardware (libqatzip.so.3)");
    conformance::check(&Subject::new(method, Integrity::Checked))
}

/// Without pinned memory the library copies.
#[test]
fn a_device_works_with_common_memory() -> Result<()> {
    let library = StandIn::qatzip(&["NO_PINNED"])?;
    let counted = migrate(&*hardware(&library)?)?;
    ensure!(counted == (counts(3, 0, 0, &[]), counts(3, 0, 0, &[])));
    Ok(())
}

#[test]
fn a_device_gets_only_what_it_takes() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    forms::check_legal(&*hardware(&library)?)?;
    forms::check_refused(&*hardware(&library)?)?;
    forms::check_too_many(&*hardware(&library)?)
}

/// What it makes is read by software, and what software makes it reads where it can.
#[test]
fn a_device_and_software_meet() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let (device, software) = (hardware(&library)?, open(1, &MethodOptions::new())?);
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
            "hardware",
            counts(2, 0, 1, &[Fallback::Busy]),
            counts(3, 0, 0, &[]),
        ),
        (
            vec!["ANSWERS=-3,0,0,-116,0,0"],
            "auto",
            counts(2, 0, 1, &[Fallback::NoRoom]),
            counts(2, 0, 1, &[Fallback::Unsupported]),
        ),
        // After a failure without a reason the device is not used any more.
        (
            vec!["ANSWERS=-2,-5"],
            "hardware",
            counts(
                0,
                0,
                3,
                &[Fallback::Failed, Fallback::NoDevice, Fallback::NoDevice],
            ),
            counts(
                0,
                0,
                3,
                &[Fallback::Failed, Fallback::NoDevice, Fallback::NoDevice],
            ),
        ),
        (
            vec!["ANSWERS=-2,-101"],
            "library",
            counts(
                0,
                3,
                0,
                &[Fallback::Failed, Fallback::NoDevice, Fallback::NoDevice],
            ),
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
            "hardware",
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
    let method = hardware(&library)?;
    let content = content();
    let packet = content.get(..PAGE * PER_PACKET).context("a packet")?;
    let guest = Guest::with(PageSize::X86, packet)?;
    let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
    unpack(&mut *receiver, &qz(packet, 1)?, &guest, &guest.offsets())?.filled()?;
    let want = counts(0, 0, 1, &[Fallback::Unsupported]);
    ensure!(receiver.paths() == Some(want), "{:?}", receiver.paths());
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
        let auto = choose(&library, "auto")?.implementation();
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
    let auto = open(1, &options)?.implementation();
    ensure!(auto.contains(file), "{auto}");
    let software = options.with(Accelerator::OPTION, Accelerator::Software);
    let software = open(1, &software)?.implementation();
    ensure!(
        software.starts_with("software (") && !software.contains(file),
        "{software}"
    );
    Ok(())
}

/// Two whole packets and a half there and back; who did them at each side. Our software stores them,
/// and so the stand-in reads what it made.
fn migrate(method: &dyn MultifdMethods) -> Result<(PathCounts, PathCounts)> {
    let mut content = vec![0; PAGE * PER_PACKET * 5 / 2];
    PageSource::new(17).fill(Kind::Random, &mut content);
    let guest = Guest::with(PageSize::X86, &content)?;
    let target = Guest::untouched(PageSize::X86, guest.offsets().len())?;
    let mut sender = method.send_setup(&setup(PageSize::X86)?)?;
    let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
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
    let options = MethodOptions::new()
        .with("qatzip-library", library.path().display())
        .with(Accelerator::OPTION, choice);
    open(1, &options)
}
