// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `accelerator=` means one thing, whichever accelerator it is: three methods, each with a library that stands in
//! for one with a device.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use multifd_core::method::{Accelerator, CodecPath, PathCounts};
use multifd_core::{Fault, MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_qatzip::QatzipFactory;
use multifd_qpl::QplFactory;
use multifd_tests::conformance::{Guest, pack, setup, unpack};
use multifd_tests::stand_in::StandIn;
use multifd_uadk::UadkFactory;

/// A method, and how its library is told to be of no use.
struct Subject {
    name: &'static str,
    factory: fn() -> Box<dyn MethodFactory>,
    stand_in: fn(&[&str]) -> Result<StandIn>,
    /// There is no device.
    none: &'static [&'static str],
    /// It does the first packet, and then fails.
    fails: &'static [&'static str],
    /// It does the first packet, and then nothing.
    silent: &'static [&'static str],
    /// A channel gets no device, though the method has got one.
    taken: &'static [&'static str],
}

/// Packets of ten pages; the trial of `qpl` and `uadk` takes two requests of its own.
const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "qatzip",
        factory: || Box::new(QatzipFactory),
        stand_in: StandIn::qatzip,
        none: &["NO_DEVICE"],
        fails: &["AFTER=2", "THEN=-2"],
        silent: &["AFTER=2", "THEN=SILENT"],
        // Three pieces for the trial, and two for each of two channels.
        taken: &["PINNED=7"],
    },
    Subject {
        name: "qpl",
        factory: || Box::new(QplFactory),
        stand_in: StandIn::qpl,
        none: &["NO_DEVICE"],
        fails: &["AFTER=22", "THEN=303"],
        silent: &["AFTER=22", "THEN=SILENT"],
        // One for each page of a packet, for two channels.
        taken: &["JOBS=256"],
    },
    Subject {
        name: "uadk",
        factory: || Box::new(UadkFactory::default()),
        stand_in: StandIn::uadk,
        none: &["INIT_RESULT=-19"],
        fails: &["GOOD_REQUESTS=22", "STATUS=67"],
        silent: &["GOOD_REQUESTS=22", "SILENT=1"],
        taken: &["MOST_SESSIONS=2"],
    },
];

impl Subject {
    fn open(&self, library: &StandIn, choice: Accelerator) -> Result<Arc<dyn MultifdMethods>> {
        let options = MethodOptions::new()
            .with(format!("{}-library", self.name), library.path().display())
            .with(Accelerator::OPTION, choice);
        Ok((self.factory)().open(&options)?)
    }
}

/// Does the same for each method.
fn each(test: impl Fn(&Subject) -> Result<()>) -> Result<()> {
    SUBJECTS
        .iter()
        .try_for_each(|subject| test(subject).context(subject.name))
}

#[test]
fn with_a_device_all_packets_are_its_work() -> Result<()> {
    each(|subject| {
        for choice in [Accelerator::Auto, Accelerator::Hardware] {
            let library = (subject.stand_in)(&[])?;
            let method = subject.open(&library, choice)?;
            let implementation = method.implementation();
            ensure!(implementation.is_hardware(), "{implementation}");
            ensure!(implementation.library.is_some() && implementation.fallback.is_some());
            for counts in migrate(&*method)? {
                ensure!(counts.packets(CodecPath::Hardware) == PACKETS, "{counts:?}");
                ensure!(counts.all_fallbacks() == 0, "{counts:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn without_a_device_auto_is_software_and_hardware_is_not_opened() -> Result<()> {
    each(|subject| {
        let library = (subject.stand_in)(subject.none)?;
        let method = subject.open(&library, Accelerator::Auto)?;
        let implementation = method.implementation();
        ensure!(
            implementation.path == CodecPath::Software && implementation.why.is_some(),
            "{implementation}"
        );
        let error = subject.open(&library, Accelerator::Hardware).err();
        let error = error.context("it was opened")?;
        let fault = error.downcast_ref().map(multifd_core::MethodError::fault);
        ensure!(fault == Some(Fault::Device), "{error}");
        let software = subject.open(&library, Accelerator::Software)?;
        ensure!(software.implementation().path == CodecPath::Software);
        Ok(())
    })
}

/// A device that fails, and one that does nothing any more.
#[test]
fn a_device_that_fails_later_is_replaced_or_ends_the_migration() -> Result<()> {
    each(|subject| {
        for faults in [subject.fails, subject.silent] {
            let library = (subject.stand_in)(faults)?;
            let [sent, received] = migrate(&*subject.open(&library, Accelerator::Auto)?)?;
            ensure!(
                sent.packets(CodecPath::Hardware) == 1,
                "{faults:?}: {sent:?}"
            );
            for counts in [sent, received] {
                let software = counts.packets(CodecPath::Software);
                ensure!(software > 0, "{faults:?}: {counts:?}");
                ensure!(counts.all_fallbacks() >= software, "{faults:?}: {counts:?}");
            }

            let library = (subject.stand_in)(faults)?;
            let method = subject.open(&library, Accelerator::Hardware)?;
            let Err(error) = migrate(&*method) else {
                bail!("{faults:?}: the migration went on");
            };
            let error = format!("{error:#}");
            let want = "accelerator=hardware, but the device did not do a ";
            ensure!(error.contains(want), "{faults:?}: {error}");
        }
        Ok(())
    })
}

#[test]
fn a_channel_without_a_device_is_software_or_ends_the_migration() -> Result<()> {
    each(|subject| {
        let library = (subject.stand_in)(subject.taken)?;
        let setup = setup(PageSize::X86)?;
        let auto = subject.open(&library, Accelerator::Auto)?;
        let taken = (auto.send_setup(&setup)?, auto.recv_setup(&setup)?);
        for counts in migrate(&*auto)? {
            ensure!(counts.packets(CodecPath::Software) == PACKETS, "{counts:?}");
            ensure!(counts.all_fallbacks() == PACKETS, "{counts:?}");
        }
        drop((taken, auto));
        let hardware = subject.open(&library, Accelerator::Hardware)?;
        let _taken = (hardware.send_setup(&setup)?, hardware.recv_setup(&setup)?);
        let error = migrate(&*hardware).err().context("it was set up")?;
        let want = "accelerator=hardware, but this channel has no device: ";
        ensure!(error.to_string().contains(want), "{error}");
        Ok(())
    })
}

/// Packets there and back, one at a time; who did them at each side.
fn migrate(method: &dyn MultifdMethods) -> Result<[PathCounts; 2]> {
    // Runs of one byte, which all of the devices make smaller.
    let content: Vec<u8> = (0..PAGES).flat_map(|page| vec![page; 4096]).collect();
    let guest = Guest::with(PageSize::X86, &content)?;
    let target = Guest::untouched(PageSize::X86, guest.offsets().len())?;
    let setup = setup(PageSize::X86)?.with_accelerator_limit(LIMIT);
    let mut sender = method.send_setup(&setup)?;
    let mut receiver = method.recv_setup(&setup)?;
    for offsets in guest.offsets().chunks(PER_PACKET) {
        let payload = pack(&mut *sender, &guest, offsets)?;
        unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
    }
    target.ensure_received(&guest, &guest.offsets())?;
    let counts = |paths: Option<PathCounts>| paths.context("it counts");
    Ok([counts(sender.paths())?, counts(receiver.paths())?])
}

const PER_PACKET: usize = 10;
const PACKETS: u64 = 4;
const PAGES: u8 = 40;
/// How long a device may be silent.
const LIMIT: Duration = Duration::from_secs(2);
