// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Every method does what every method has to do, and the checks notice one that does not.

use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{
    ChannelSetup, Fault, MethodError, MethodFactory, MethodId, MethodIdentity, MethodOptions,
    MultifdMethods, PageSize, Pages, PagesMut, Payload, RecvMethod, Segments, SendMethod,
};
use multifd_tests::conformance::{
    self, Guest, Integrity, OnRungs, Subject, pack, recorded, round_trip, unpack,
};
use multifd_tests::isal;

#[test]
fn none() -> Result<()> {
    let method = multifd_none::NoneFactory.open(&MethodOptions::new())?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn zstd() -> Result<()> {
    let method = multifd_zstd::ZstdFactory.open(&MethodOptions::new())?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn every_level_of_zstd() -> Result<()> {
    every_level(&multifd_zstd::ZstdFactory, 0..=20)
}

#[test]
fn qatzip() -> Result<()> {
    let method = multifd_qatzip::QatzipFactory.open(&MethodOptions::new())?;
    conformance::check(&Subject::new(method, Integrity::Checked))
}

#[test]
fn every_level_of_qatzip() -> Result<()> {
    every_level(&multifd_qatzip::QatzipFactory, 1..=9)
}

#[test]
fn qpl() -> Result<()> {
    let software = MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software);
    let method = multifd_qpl::QplFactory.open(&software)?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn uadk() -> Result<()> {
    let software = MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software);
    let method = multifd_uadk::UadkFactory::default().open(&software)?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn software_with_isal() -> Result<()> {
    let Some(library) = isal::library()? else {
        return Ok(());
    };
    let options = MethodOptions::new()
        .with(Accelerator::OPTION, Accelerator::Software)
        .with("isal-library", library);
    let factories: [(&dyn MethodFactory, _); 4] = [
        (&multifd_zlib::ZlibFactory, Integrity::Unchecked),
        (&multifd_qatzip::QatzipFactory, Integrity::Checked),
        (&multifd_qpl::QplFactory, Integrity::Unchecked),
        (&multifd_uadk::UadkFactory::default(), Integrity::Unchecked),
    ];
    for (factory, integrity) in factories {
        let method = factory.open(&options)?;
        let implementation = method.implementation().to_string();
        ensure!(implementation.contains("ISA-L 2."), "{implementation}");
        conformance::check(&Subject::new(method, integrity)).context(factory.identity().name())?;
    }
    Ok(())
}

#[test]
fn zlib() -> Result<()> {
    let method = multifd_zlib::ZlibFactory.open(&MethodOptions::new())?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn every_level_of_zlib() -> Result<()> {
    every_level(&multifd_zlib::ZlibFactory, 0..=9)
}

#[test]
fn every_rung_of_zstd() -> Result<()> {
    every_rung(&multifd_zstd::ZstdFactory, Integrity::Unchecked)
}

#[test]
fn every_rung_of_zlib() -> Result<()> {
    every_rung(&multifd_zlib::ZlibFactory, Integrity::Unchecked)
}

#[test]
fn wrong_methods_are_noticed() {
    for (flaw, want) in [
        (Flaw::ForgetsTheLastPage, "has other content"),
        (Flaw::TakesLess, "the first"),
        (Flaw::NoLimit, "takes a payload of"),
        (Flaw::NoRoom, "has no room for the longest payload"),
        (Flaw::RefusesTheSecondPacket, "a good payload was refused"),
    ] {
        let subject = Subject::new(Arc::new(Wrong(flaw)), Integrity::Unchecked);
        let error = format!("{:#}", conformance::check(&subject).unwrap_err());
        assert!(error.contains(want), "{flaw:?}: {error}");
    }
}

/// Pages are counted before a method is asked to do anything with them.
#[test]
fn a_packet_of_too_many_pages_comes_to_no_method() -> Result<()> {
    let most = PageSize::X86.pages_per_packet();
    let guest = Guest::new(PageSize::X86, most + 1)?;
    let error = pack(&mut NotAsked, &guest, &guest.offsets()).err();
    let want = "a packet of 129 pages with content, wanted at most 128";
    ensure!(error.is_some_and(|error| error.to_string() == want));
    let error = unpack(&mut NotAsked, &[0], &guest, &guest.offsets()).err();
    ensure!(error.is_some_and(|error| error.to_string() == want));
    Ok(())
}

/// A method that no packet may come to.
struct NotAsked;

impl SendMethod for NotAsked {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        _: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let what = format!("asked to send {} pages", pages.count());
        Err(MethodError::device("none", what))
    }
}

impl RecvMethod for NotAsked {
    fn payload_limits(&self, _: usize) -> RangeInclusive<usize> {
        1..=1
    }

    fn recv(&mut self, _: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let what = format!("asked to fill {} pages", pages.count());
        Err(MethodError::device("none", what))
    }
}

/// Opens the method at each of its levels, and at one more, which it has to refuse.
fn every_level(factory: &dyn MethodFactory, levels: RangeInclusive<u8>) -> Result<()> {
    let name = format!("multifd-{}-level", factory.identity().name());
    let beyond = MethodOptions::new().with(&name, levels.end() + 1);
    let refused = factory.open(&beyond).err().context("a level too high")?;
    ensure!(refused.fault() == Fault::Caller, "{refused}");
    for level in levels {
        let method = factory.open(&MethodOptions::new().with(&name, level))?;
        let subject = Subject::new(method, Integrity::Unchecked);
        round_trip::check_channel(&subject).with_context(|| format!("level {level}"))?;
    }
    Ok(())
}

/// Checks the method on each rung of its ladder, and on all of them in turn, as a channel takes them that changes from
/// packet to packet.
fn every_rung(factory: &dyn MethodFactory, integrity: Integrity) -> Result<()> {
    let method = factory.open(&MethodOptions::new())?;
    let rungs = 0..method.ladder().len();
    ensure!(
        rungs.len() > 1,
        "{} has nothing to choose from",
        method.name()
    );
    let on = |rungs: Vec<usize>| {
        let method = Arc::clone(&method);
        Subject::new(Arc::new(OnRungs { method, rungs }), integrity)
    };
    // The others make what the method makes at its levels, which is checked as a whole for one of them.
    conformance::check(&on(vec![0])).context("on the lowest rung")?;
    round_trip::check_channel(&on(rungs.clone().rev().collect())).context("on all rungs")?;
    for (number, rung) in rungs.zip(method.ladder()) {
        round_trip::check_channel(&on(vec![number])).with_context(|| format!("rung {rung:?}"))?;
        recorded::check_memory(&on(vec![number])).with_context(|| format!("rung {rung:?}"))?;
    }
    Ok(())
}

/// `none`, but for one flaw.
struct Wrong(Flaw);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    ForgetsTheLastPage,
    TakesLess,
    NoLimit,
    NoRoom,
    RefusesTheSecondPacket,
}

struct WrongSend;

struct WrongRecv {
    flaw: Flaw,
    packets: usize,
}

impl MultifdMethods for Wrong {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::new(MethodId::NONE, "wrong")
    }

    fn send_setup(&self, _: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(WrongSend))
    }

    fn recv_setup(&self, _: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(WrongRecv {
            flaw: self.0,
            packets: 0,
        }))
    }
}

impl SendMethod for WrongSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        out.push_pages(pages);
        Ok(())
    }
}

impl RecvMethod for WrongRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        match self.flaw {
            Flaw::TakesLess => 0..=(pages << 16).min(1 << 20),
            Flaw::NoLimit => 1..=usize::MAX - 1,
            _ => 1..=(pages << 16).min(1 << 20),
        }
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        self.packets += 1;
        if self.flaw == Flaw::RefusesTheSecondPacket && self.packets == 2 {
            return Err(MethodError::corrupt("wrong", 0, "second packet"));
        }
        if self.flaw == Flaw::NoRoom {
            let mut room = vec![0; pages.bytes()];
            let content = payload
                .read_rest(&mut room)
                .map_err(MethodError::payload("wrong"))?;
            if content.len() != pages.bytes() {
                return Err(MethodError::corrupt("wrong", 0, "size"));
            }
            pages.writer().write(content);
            return Ok(());
        }
        let wrong = match self.flaw {
            Flaw::TakesLess => payload.len() > pages.bytes(),
            _ => payload.len() != pages.bytes(),
        };
        if wrong {
            return Err(MethodError::corrupt("wrong", 0, "size"));
        }
        let mut content = vec![0; pages.bytes().min(payload.remaining())];
        payload
            .read_exact(&mut content)
            .map_err(MethodError::payload("wrong"))?;
        if self.flaw == Flaw::ForgetsTheLastPage {
            content.truncate(pages.bytes() - 4096.min(pages.bytes()));
        }
        pages.writer().write(&content);
        Ok(())
    }
}
