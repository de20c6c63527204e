// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side with libqatzip.

use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};

use crate::attempt::Work;
use crate::engine::Vendor;
use crate::member::{MAX_CONTENT, QZ_HEADER_LEN, TRAILER_LEN};
use crate::send::QatzipSend;
use crate::session::Sessions;
use crate::shape::MAX_DEFLATE;

/// State of one sending channel.
///
/// The pages of a packet are copied to where the device reads them, and its members are sent from where it
/// wrote them.
pub(crate) struct DeviceSend {
    sessions: Sessions,
    own: QatzipSend,
}

impl DeviceSend {
    /// # Errors
    /// The device has to do everything, and this channel does not get it.
    pub(crate) fn new(
        setup: &ChannelSetup,
        vendor: &Vendor,
        own: QatzipSend,
    ) -> Result<Self, MethodError> {
        let content = setup.packet_bytes();
        let most = content.div_ceil(MAX_CONTENT);
        let members = most * (QZ_HEADER_LEN + MAX_DEFLATE + TRAILER_LEN);
        let sessions = vendor.sessions(setup, Work::Compress, content, members)?;
        Ok(Self { sessions, own })
    }
}

impl SendMethod for DeviceSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let made = match self.sessions.input_mut() {
            Some(content) => {
                let copied = pages.copy_to(content);
                self.sessions.compress(copied)
            }
            None => {
                self.sessions.pass();
                None
            }
        };
        self.sessions.permit()?;
        match made {
            Some(len) => {
                out.push(self.sessions.output().get(..len).unwrap_or_default());
                Ok(())
            }
            None => self.own.send_prepare(pages, out),
        }
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.sessions.counts())
    }
}
