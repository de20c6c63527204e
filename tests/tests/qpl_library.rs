// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method qpl with Intel's libqpl, on its software path.
//!
//! Each test names itself, because it may have to run in another process: see
//! [`multifd_tests::libqpl`].

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use flate2::write::DeflateEncoder;
use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts};
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods, PageSize};
use multifd_qpl::QplFactory;
use multifd_tests::conformance::recorded::{Folder, packets};
use multifd_tests::conformance::{
    self, Guest, Integrity, Kind, PageSource, Subject, Verdict, fill, pack, setup, unpack,
};
use multifd_tests::libqpl;

#[test]
fn does_what_every_method_does() -> Result<()> {
    libqpl::with("does_what_every_method_does", |library| {
        let method = open(Accelerator::Library, library)?;
        let text = method.implementation().to_string();
        ensure!(text.contains("(libqpl 1."), "{text}");
        conformance::check(&Subject::new(method, Integrity::Unchecked))
    })
}

#[test]
fn takes_what_our_software_sends_and_the_other_way_round() -> Result<()> {
    libqpl::with(
        "takes_what_our_software_sends_and_the_other_way_round",
        |library| {
            for page_size in [0x1000, 0x4000, 0x10000]
                .into_iter()
                .filter_map(PageSize::new)
            {
                for kind in Kind::ALL {
                    exchange(library, page_size, kind)
                        .with_context(|| format!("{kind:?} pages of {page_size}"))?;
                }
            }
            Ok(())
        },
    )
}

#[test]
fn takes_what_a_qemu_has_sent() -> Result<()> {
    libqpl::with("takes_what_a_qemu_has_sent", |library| {
        let method = open(Accelerator::Library, library)?;
        let source = Guest::with(PageSize::X86, &Folder::memory()?)?;
        let target = Guest::new(PageSize::X86, source.offsets().len())?;
        for channel in 0..2 {
            let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
            for packet in packets(&Folder::new("qpl-qemu-10.2").channel(channel)?)? {
                if !packet.normal.is_empty() {
                    let pages = &packet.normal;
                    unpack(&mut *receiver, &packet.payload, &target, pages)?.filled()?;
                }
            }
            by_the_library_alone(receiver.paths())?;
        }
        target.ensure_received(&source, &source.offsets())
    })
}

/// On a machine with a device it does the packets, and not something else that passes for it.
#[test]
fn a_device_does_all_packets() -> Result<()> {
    libqpl::with("a_device_does_all_packets", |library| {
        let method = open(Accelerator::Auto, library)?;
        if !method.implementation().is_hardware() {
            let why = format!("skipped: {}\n", method.implementation());
            return Ok(io::stdout().write_all(why.as_bytes())?);
        }
        let guest = Guest::with(PageSize::X86, &fill(6, 4096, 300))?;
        let target = Guest::untouched(PageSize::X86, 300)?;
        let mut sender = method.send_setup(&setup(PageSize::X86)?)?;
        let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
        for offsets in guest.offsets().chunks(100) {
            let payload = pack(&mut *sender, &guest, offsets)?;
            unpack(&mut *receiver, &payload, &target, offsets)?.filled()?;
        }
        target.ensure_received(&guest, &guest.offsets())?;
        for paths in [sender.paths(), receiver.paths()] {
            let paths = paths.context("paths")?;
            ensure!(paths.packets(CodecPath::Hardware) == 3, "{paths:?}");
            ensure!(paths.all_fallbacks() == 0, "{paths:?}");
        }
        Ok(())
    })
}

/// Whatever a peer sends, the library's presence does not change what is received: where our software
/// fills the pages, the library does too, with the same. It may take a stream with something after its end,
/// which our software does not.
#[test]
fn damage_has_the_same_end_with_and_without_it() -> Result<()> {
    libqpl::with("damage_has_the_same_end_with_and_without_it", |library| {
        let guest = Guest::with(PageSize::X86, &fill(5, 4096, PAGES))?;
        let offsets = guest.offsets();
        let ours = open(Accelerator::Software, library)?;
        let theirs = open(Accelerator::Library, library)?;
        let setup = setup(PageSize::X86)?;
        let mut random = PageSource::new(21);
        for sender in [&ours, &theirs] {
            let good = pack(&mut *sender.send_setup(&setup)?, &guest, &offsets)?;
            let mut by_ours = ours.recv_setup(&setup)?;
            let mut by_theirs = theirs.recv_setup(&setup)?;
            let (mut filled, mut refused) = (0, 0);
            for number in 0..CHANGES {
                let payload = damaged(&good, &mut random);
                let (one, other) = (blank()?, blank()?);
                let want = unpack(&mut *by_ours, &payload, &one, &offsets)?;
                let got = unpack(&mut *by_theirs, &payload, &other, &offsets)?;
                match want {
                    Verdict::Filled => {
                        got.filled().with_context(|| format!("change {number}"))?;
                        other.ensure_received(&one, &offsets)?;
                        filled += 1;
                    }
                    Verdict::Refused(_) => refused += 1,
                }
            }
            ensure!(
                filled > 0 && refused > 0,
                "{filled} filled, {refused} refused"
            );
        }
        Ok(())
    })
}

/// A stream may refer back further than the library remembers.
#[test]
fn what_the_library_cannot_take_is_done_in_software() -> Result<()> {
    libqpl::with(
        "what_the_library_cannot_take_is_done_in_software",
        |library| {
            let page_size = PageSize::new(0x10000).context("page size")?;
            let mut page = vec![0; page_size.bytes()];
            let (first, rest) = page.split_at_mut(10_000);
            PageSource::new(2).fill(Kind::Random, first);
            for again in rest.chunks_mut(first.len()) {
                again.copy_from_slice(&first[..again.len()]);
            }
            let guest = Guest::with(page_size, &page)?;
            let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(9));
            encoder.write_all(&page)?;
            let stream = encoder.finish()?;
            let payload = [&u32::try_from(stream.len())?.to_be_bytes()[..], &stream].concat();

            let method = open(Accelerator::Library, library)?;
            let mut receiver = method.recv_setup(&setup(page_size)?)?;
            let target = Guest::untouched(page_size, 2)?;
            unpack(&mut *receiver, &payload, &target, &[0])?.filled()?;
            target.ensure_received(&guest, &[0])?;
            let paths = receiver.paths().context("paths")?;
            ensure!(paths.fallbacks(Fallback::Unsupported) == 1, "{paths:?}");
            ensure!(paths.packets(CodecPath::Software) == 1, "{paths:?}");
            Ok(())
        },
    )
}

#[test]
fn channels_and_migrations_do_not_meet() -> Result<()> {
    libqpl::with("channels_and_migrations_do_not_meet", |library| {
        // Loaded and let go of again while others use it.
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    scope.spawn(move || {
                        (0..8).try_for_each(|round| {
                            let kind = Kind::ALL[(number + round) % Kind::ALL.len()];
                            exchange(library, PageSize::X86, kind)
                        })
                    })
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a channel panicked"))?)
        })
    })
}

/// Sends a packet from our software to the library, from the library to our software, and from the
/// library to itself.
fn exchange(library: &str, page_size: PageSize, kind: Kind) -> Result<()> {
    use Accelerator::{Library, Software};
    let count = page_size.pages_per_packet();
    let mut content = vec![0; count * page_size.bytes()];
    let mut source = PageSource::new(9);
    for page in content.chunks_mut(page_size.bytes()) {
        source.fill(kind, page);
    }
    let guest = Guest::with(page_size, &content)?;
    let offsets = guest.offsets();
    for (from, to) in [(Software, Library), (Library, Software), (Library, Library)] {
        let mut sender = open(from, library)?.send_setup(&setup(page_size)?)?;
        let mut receiver = open(to, library)?.recv_setup(&setup(page_size)?)?;
        let payload = pack(&mut *sender, &guest, &offsets)?;
        let shrinks = payload.len() < content.len();
        ensure!(
            shrinks || kind == Kind::Random || kind == Kind::Twice,
            "{from}: {} bytes",
            payload.len()
        );
        let target = Guest::untouched(page_size, count)?;
        unpack(&mut *receiver, &payload, &target, &offsets)?
            .filled()
            .and_then(|()| target.ensure_received(&guest, &offsets))
            .with_context(|| format!("{from} to {to}"))?;
        for (side, paths) in [(from, sender.paths()), (to, receiver.paths())] {
            if side == Library {
                by_the_library_alone(paths).with_context(|| format!("{from} to {to}"))?;
            }
        }
    }
    Ok(())
}

/// Demands that nothing fell back.
fn by_the_library_alone(paths: Option<PathCounts>) -> Result<()> {
    let paths = paths.context("paths")?;
    let packets = paths.packets(CodecPath::VendorSoftware) + paths.packets(CodecPath::Hardware);
    ensure!(
        packets > 0 && paths.packets(CodecPath::Software) == 0,
        "{paths:?}"
    );
    ensure!(paths.all_fallbacks() == 0, "{paths:?}");
    Ok(())
}

/// A payload with a few bits or bytes of its streams changed, and sometimes of its table.
fn damaged(good: &[u8], random: &mut PageSource) -> Vec<u8> {
    let mut payload = good.to_vec();
    let start = if random.below(8) == 0 { 0 } else { 4 * PAGES };
    for _ in 0..=random.below(3) {
        let at = start + random.below(payload.len() - start);
        let (byte, bit) = (random.byte(), random.below(16));
        if let Some(place) = payload.get_mut(at) {
            *place = if bit < 8 { *place ^ 1 << bit } else { byte };
        }
    }
    payload
}

fn blank() -> Result<Guest> {
    Guest::new(PageSize::X86, PAGES)
}

fn open(accelerator: Accelerator, library: &str) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new()
        .with(Accelerator::OPTION, accelerator)
        .with("qpl-library", library);
    Ok(QplFactory.open(&options)?)
}

/// Pages of the packets that are damaged.
const PAGES: usize = 5;
const CHANGES: usize = 3000;
