// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side on a device: each page by the device, or by software where that does not.

use multifd_core::method::PathCounts;
use multifd_core::pages::PageCopy;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::table::TableWriter;
use multifd_deflate::{Deflate, PageEncoder};

use crate::send::encode;
use crate::session::Session;

/// State of one sending channel. Nothing in it goes from packet to packet.
#[derive(Debug)]
pub(crate) struct DeviceSend {
    session: Session,
    encoder: PageEncoder,
    page_size: usize,
    /// The pages of a packet, copied so that they hold still.
    content: PageCopy,
    payload: TableWriter,
}

impl DeviceSend {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate, session: Session) -> Self {
        let page_size = setup.page_size.bytes();
        Self {
            session,
            encoder: deflate.page_encoder(page_size),
            page_size,
            content: PageCopy::new(setup.packet_bytes()),
            payload: TableWriter::new(setup.page_size.pages_per_packet(), page_size),
        }
    }
}

impl SendMethod for DeviceSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let content = self.content.fill(pages);
        let (encoder, payload) = (&mut self.encoder, &mut self.payload);
        payload.clear();
        let pages = content.chunks_exact(self.page_size);
        self.session.each(
            pages,
            |page| Some(*page),
            |page, made| {
                let added = payload.add(page, |page, room| match made {
                    Some(stream) => {
                        room.get_mut(..stream.len())?.copy_from_slice(stream);
                        Some(stream.len())
                    }
                    None => encode(encoder, page, room),
                });
                debug_assert!(added, "core hands over no more pages than a packet has");
                Ok::<_, MethodError>(true)
            },
        )?;
        self.session.end_packet()?;
        for part in self.payload.parts() {
            out.push(part);
        }
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.session.counts())
    }
}
