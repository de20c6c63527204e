// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A method that fails on request.

use std::ops::RangeInclusive;
use std::panic;
use std::sync::Arc;

use multifd_core::{
    ChannelSetup, MethodError, MethodId, MethodIdentity, MultifdMethods, Pages, PagesMut, Payload,
    RecvMethod, Segments, SendMethod,
};

use crate::rig;
use crate::threads::{Alive, AliveGuard, Gate};

/// The method `none`, but for what the script says.
#[derive(Default)]
pub(crate) struct Scripted {
    /// What goes wrong in the set-up of a channel.
    pub(crate) setup: Option<(u8, Failure)>,
    /// What goes wrong in which of a channel's packets, the first with pages being 0.
    pub(crate) packet: Option<(usize, Failure)>,
    /// Where the set-up of every channel waits.
    pub(crate) setup_gate: Arc<Gate>,
    /// Where the packets of every channel wait.
    pub(crate) packet_gate: Arc<Gate>,
    /// States of channels that have not been dropped.
    pub(crate) alive: Alive,
}

/// How a method fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Says that its device failed.
    Device,
    /// Panics.
    Panic,
    /// Leaves the last byte of the payload unread.
    LeavesByte,
    /// Reads a byte more than there is.
    ReadsPastEnd,
    /// Says that the payload is damaged.
    Corrupt,
}

struct Channel<T: ?Sized> {
    script: Option<(usize, Failure)>,
    gate: Arc<Gate>,
    packets: usize,
    _alive: AliveGuard,
    method: Box<T>,
}

impl Scripted {
    fn channel<T: ?Sized>(
        &self,
        setup: &ChannelSetup,
        method: Box<T>,
    ) -> Result<Channel<T>, MethodError> {
        self.setup_gate.pass();
        match self.setup {
            Some((channel, failure)) if channel == setup.channel.number() => fail(failure)?,
            _ => {}
        }
        Ok(Channel {
            script: self.packet,
            gate: Arc::clone(&self.packet_gate),
            packets: 0,
            _alive: self.alive.guard(),
            method,
        })
    }
}

impl MultifdMethods for Scripted {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::new(MethodId::NONE, "scripted")
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        let none = rig::none().send_setup(setup)?;
        Ok(Box::new(self.channel(setup, none)?))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        let none = rig::none().recv_setup(setup)?;
        Ok(Box::new(self.channel(setup, none)?))
    }
}

impl<T: ?Sized> Channel<T> {
    /// What goes wrong now.
    fn next(&mut self) -> Option<Failure> {
        self.gate.pass();
        let packet = self.packets;
        self.packets += 1;
        let (at, failure) = self.script?;
        (at == packet).then_some(failure)
    }
}

impl SendMethod for Channel<dyn SendMethod> {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        self.next().map_or(Ok(()), fail)?;
        self.method.send_prepare(pages, out)
    }
}

impl RecvMethod for Channel<dyn RecvMethod> {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        self.method.payload_limits(pages)
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let failure = self.next();
        let len = payload.len();
        let wanted = match failure {
            None => return self.method.recv(payload, pages),
            Some(Failure::LeavesByte) => len - 1,
            Some(Failure::ReadsPastEnd) => len + 1,
            Some(failure) => return fail(failure),
        };
        let mut bytes = vec![0; wanted];
        payload
            .read_exact(&mut bytes)
            .map_err(MethodError::payload("scripted"))
    }
}

fn fail(failure: Failure) -> Result<(), MethodError> {
    match failure {
        Failure::Panic => panic::resume_unwind(Box::new("on request")),
        Failure::Device => Err(MethodError::device("scripted", "the device is gone")),
        _ => Err(MethodError::corrupt("scripted", 7, "damaged")),
    }
}
