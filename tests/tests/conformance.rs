//! Every method does what every method has to do, and the checks notice one that does not.

use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::Result;
use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodId, MethodOptions, MultifdMethods, Pages,
    PagesMut, Payload, RecvMethod, Segments, SendMethod,
};
use multifd_tests::conformance::{self, Integrity, Subject};

#[test]
fn none() -> Result<()> {
    let method = multifd_none::NoneFactory.open(&MethodOptions::new())?;
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn wrong_methods_are_noticed() {
    for (fault, want) in [
        (Fault::ForgetsTheLastPage, "has other content"),
        (Fault::TakesLess, "the first"),
        (Fault::TakesMore, "bytes were not read"),
        (Fault::NoLimit, "takes a payload of"),
        (Fault::RefusesTheSecondPacket, "a good payload was refused"),
    ] {
        let subject = Subject::new(Arc::new(Wrong(fault)), Integrity::Unchecked);
        let error = format!("{:#}", conformance::check(&subject).unwrap_err());
        assert!(error.contains(want), "{fault:?}: {error}");
    }
}

/// `none`, but for one fault.
struct Wrong(Fault);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ForgetsTheLastPage,
    TakesLess,
    TakesMore,
    NoLimit,
    RefusesTheSecondPacket,
}

struct WrongSend;

struct WrongRecv {
    fault: Fault,
    packets: usize,
}

impl MultifdMethods for Wrong {
    fn id(&self) -> MethodId {
        MethodId::NONE
    }

    fn name(&self) -> &'static str {
        "wrong"
    }

    fn send_setup(&self, _: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(WrongSend))
    }

    fn recv_setup(&self, _: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(WrongRecv {
            fault: self.0,
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
        match self.fault {
            Fault::TakesLess => 0..=pages << 16,
            Fault::TakesMore => 1..=pages << 17,
            Fault::NoLimit => 1..=usize::MAX - 1,
            _ => 1..=pages << 16,
        }
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        self.packets += 1;
        if self.fault == Fault::RefusesTheSecondPacket && self.packets == 2 {
            return Err(MethodError::corrupt("wrong", 0, "second packet"));
        }
        let wrong = match self.fault {
            Fault::TakesLess => payload.len() > pages.bytes(),
            Fault::TakesMore => payload.len() < pages.bytes(),
            _ => payload.len() != pages.bytes(),
        };
        if wrong {
            return Err(MethodError::corrupt("wrong", 0, "size"));
        }
        let mut content = vec![0; pages.bytes().min(payload.remaining())];
        payload
            .read_exact(&mut content)
            .map_err(MethodError::payload("wrong"))?;
        if self.fault == Fault::ForgetsTheLastPage {
            content.truncate(pages.bytes() - 4096.min(pages.bytes()));
        }
        pages.writer().write(&content);
        Ok(())
    }
}
