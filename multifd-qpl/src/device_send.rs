// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side on a device: all pages of a packet at once.

use std::ops::Range;

use multifd_core::method::{CodecPath, Fallback, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::table::Lengths;
use multifd_deflate::{Deflate, PageEncoder};

use crate::error::{Trouble, lost_page};
use crate::job::Operation;
use crate::send::QplSend;
use crate::session::Session;
use crate::software;
use crate::status::Status;

/// State of one sending channel. Nothing in it goes from packet to packet.
///
/// What the device wrote is sent from where it wrote it.
pub(crate) struct DeviceSend {
    page_size: usize,
    /// Reads a private copy of the pages, which holds still; a slot for each. `None` if the channel got none.
    session: Option<Session>,
    encoder: PageEncoder,
    forms: Vec<Form>,
    lengths: Lengths,
    /// Does the packets once there is no device any more.
    own: QplSend,
    counts: PathCounts,
}

/// What becomes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It is with the device.
    AtWork,
    /// A stream of so many bytes, in its slot.
    Stream(usize),
    /// The page as it is.
    Raw,
}

impl DeviceSend {
    /// `session` has a slot for each page of a packet.
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate, session: Option<Session>) -> Self {
        let most = setup.page_size.pages_per_packet();
        let page_size = setup.page_size.bytes();
        Self {
            page_size,
            session,
            encoder: deflate.page_encoder(page_size),
            forms: Vec::with_capacity(most),
            lengths: Lengths::new(most),
            own: QplSend::new(setup, deflate.page_encoder(page_size), None),
            counts: PathCounts::default(),
        }
    }

    /// Has the device do a packet; `false` if there is none any more.
    fn by_device(&mut self, pages: &Pages<'_>) -> Result<bool, MethodError> {
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        let mut packet = Packet {
            page_size: self.page_size,
            session,
            encoder: &mut self.encoder,
            forms: &mut self.forms,
            tally: Tally::new(CodecPath::Hardware),
        };
        match packet.run(pages) {
            Ok(()) => {
                packet.tally.count_in(&mut self.counts);
                Ok(true)
            }
            Err(Trouble::Refused(error)) => Err(error),
            Err(Trouble::Silent) => {
                session.permit(Status::SILENT)?;
                Ok(false)
            }
        }
    }

    fn bytes(&self, page: usize, form: Form) -> Option<&[u8]> {
        let session = self.session.as_ref()?;
        match form {
            Form::Stream(length) => session.output(page)?.get(..length),
            Form::Raw => session.input().get(range(page, self.page_size)),
            Form::AtWork => None,
        }
    }
}

/// One packet on its way through the device.
struct Packet<'a> {
    page_size: usize,
    session: &'a mut Session,
    encoder: &'a mut PageEncoder,
    forms: &'a mut Vec<Form>,
    tally: Tally,
}

impl Packet<'_> {
    fn run(&mut self, pages: &Pages<'_>) -> Result<(), Trouble> {
        let input = self.session.input_mut().map_err(|_| Trouble::Silent)?;
        pages.copy_to(input);
        self.forms.clear();
        for page in 0..pages.count() {
            let form = self.submit(page)?;
            self.forms.push(form);
        }
        for page in 0..pages.count() {
            if self.forms.get(page) == Some(&Form::AtWork) {
                let form = self.finish(page)?;
                if let Some(known) = self.forms.get_mut(page) {
                    *known = form;
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, page: usize) -> Result<Form, Trouble> {
        let (input, room) = (
            range(page, self.page_size),
            self.page_size.saturating_sub(1),
        );
        match self.session.submit(page, Operation::Compress, input, room) {
            Ok(()) => Ok(Form::AtWork),
            Err(status) => self.by_software(page, status),
        }
    }

    fn finish(&mut self, page: usize) -> Result<Form, Trouble> {
        match self.session.wait(page) {
            Ok(0) => self.by_software(page, Status::INTERNAL),
            Ok(length) => Ok(Form::Stream(length)),
            Err(status) if status.is_no_room() => Ok(Form::Raw),
            Err(status) => self.by_software(page, status),
        }
    }

    fn by_software(&mut self, page: usize, status: Status) -> Result<Form, Trouble> {
        if status == Status::SILENT {
            return Err(Trouble::Silent);
        }
        self.session.permit(status)?;
        self.tally.fell_back(status.fallback());
        let shorter = self.page_size.saturating_sub(1);
        let form = self
            .session
            .by_hand(page, range(page, self.page_size))
            .and_then(|(page, output)| {
                software::encode(self.encoder, page, output.get_mut(..shorter)?)
            })
            .map_or(Form::Raw, Form::Stream);
        Ok(form)
    }
}

/// Where the page is in the input.
fn range(page: usize, page_size: usize) -> Range<usize> {
    page * page_size..(page + 1) * page_size
}

impl SendMethod for DeviceSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        if !self.by_device(pages)? {
            self.counts.count(CodecPath::Software);
            self.counts.fell_back(Fallback::NoDevice);
            return self.own.send_prepare(pages, out);
        }
        self.lengths.clear();
        for form in &self.forms {
            self.lengths.push(match form {
                Form::Stream(length) => *length,
                _ => self.page_size,
            });
        }
        let this = &*self;
        out.push(this.lengths.as_bytes());
        for (page, form) in this.forms.iter().enumerate() {
            out.push(this.bytes(page, *form).ok_or_else(lost_page)?);
        }
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}
