// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side with libqatzip.

use std::ops::RangeInclusive;

use multifd_core::geometry::MAX_PAYLOAD;
use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};

use crate::attempt::Work;
use crate::engine::Vendor;
use crate::member::NAME;
use crate::recv::QatzipRecv;
use crate::session::Sessions;

/// State of one receiving channel.
pub(crate) struct DeviceRecv {
    sessions: Sessions,
    own: QatzipRecv,
}

impl DeviceRecv {
    /// # Errors
    /// The device has to do everything, and this channel does not get it.
    pub(crate) fn new(
        setup: &ChannelSetup,
        vendor: &Vendor,
        own: QatzipRecv,
    ) -> Result<Self, MethodError> {
        let content = setup.packet_bytes();
        let sessions = vendor.sessions(setup, Work::Decompress(content), MAX_PAYLOAD, content)?;
        Ok(Self { sessions, own })
    }
}

impl RecvMethod for DeviceRecv {
    fn payload_limits(&self, _pages: usize) -> RangeInclusive<usize> {
        1..=MAX_PAYLOAD
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let Some(room) = self.sessions.input_mut() else {
            self.sessions.pass();
            self.own.recv(payload, pages)?;
            return self.sessions.permit();
        };
        let len = payload
            .read_rest(room)
            .map_err(MethodError::payload(NAME))?
            .len();
        if self.sessions.decompress(len, pages.bytes()) {
            let content = self.sessions.output().get(..pages.bytes());
            pages.writer().write(content.unwrap_or_default());
        } else {
            // Also where the device has to do everything: a payload that is wrong is the peer's fault.
            let payload = self.sessions.input().get(..len).unwrap_or_default();
            self.own.unpack(payload, pages)?;
        }
        self.sessions.permit()
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.sessions.counts())
    }
}
