// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side on a device: all pages of a packet at once.

use std::ops::{Range, RangeInclusive};

use multifd_core::method::{CodecPath, Fallback, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError, PageSize, PagesMut, Payload, RecvMethod};
use multifd_deflate::table::{self, Table};
use multifd_deflate::{Decoder, Deflate};

use crate::error::{NAME, Trouble, lost_page};
use crate::job::Operation;
use crate::recv::QplRecv;
use crate::session::Session;
use crate::status::Status;

/// State of one receiving channel. Nothing in it goes from packet to packet.
pub(crate) struct DeviceRecv {
    page_size: PageSize,
    /// Reads the payload; a slot for each page. `None` if the channel got none.
    session: Option<Session>,
    decoder: Decoder,
    forms: Vec<Form>,
    /// Does the packets once there is no device any more.
    own: QplRecv,
    counts: PathCounts,
}

/// What the payload has of a page, and where.
#[derive(Clone, Debug)]
struct Form {
    bytes: Range<usize>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is the page as it is.
    Raw,
    /// It is with the device.
    AtWork,
    /// The page is in its slot.
    Done,
}

impl DeviceRecv {
    /// `session` has a slot for each page of a packet, and room for the largest payload.
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate, session: Option<Session>) -> Self {
        Self {
            page_size: setup.page_size,
            session,
            decoder: deflate.decoder(),
            forms: Vec::with_capacity(setup.page_size.pages_per_packet()),
            own: QplRecv::new(setup, deflate.decoder(), None),
            counts: PathCounts::default(),
        }
    }
}

/// One packet on its way through the device.
struct Packet<'a> {
    session: &'a mut Session,
    decoder: &'a mut Decoder,
    forms: &'a mut [Form],
    tally: Tally,
    /// Why a page was not done by the device.
    status: Option<Status>,
}

impl Packet<'_> {
    fn run(&mut self, pages: &PagesMut<'_>) -> Result<(), Trouble> {
        let page_size = pages.bytes() / pages.count().max(1);
        for page in 0..pages.count() {
            self.submit(page, page_size)?;
        }
        let mut writer = pages.writer();
        for page in 0..pages.count() {
            self.finish(page, page_size)?;
            writer.write(self.content(page).ok_or_else(lost_page)?);
        }
        Ok(())
    }

    fn submit(&mut self, page: usize, page_size: usize) -> Result<(), Trouble> {
        let Some(form) = self
            .forms
            .get(page)
            .filter(|form| form.state == State::AtWork)
        else {
            return Ok(());
        };
        let stream = form.bytes.clone();
        match self
            .session
            .submit(page, Operation::Decompress, stream, page_size)
        {
            Ok(()) => Ok(()),
            Err(status) => self.by_software(page, status),
        }
    }

    fn finish(&mut self, page: usize, page_size: usize) -> Result<(), Trouble> {
        if self.forms.get(page).map(|form| form.state) != Some(State::AtWork) {
            return Ok(());
        }
        match self.session.wait(page) {
            Ok(written) if written == page_size => Ok(()),
            Ok(_) => self.by_software(page, Status::INTERNAL),
            Err(status) => self.by_software(page, status),
        }
    }

    /// Where the device did not make a page of a stream, the decoder tells whether the stream is bad or the
    /// device cannot take it.
    fn by_software(&mut self, page: usize, status: Status) -> Result<(), Trouble> {
        if status == Status::SILENT {
            return Err(Trouble::Silent);
        }
        self.status.get_or_insert(status);
        self.tally.fell_back(status.fallback());
        let form = self.forms.get_mut(page).ok_or_else(lost_page)?;
        form.state = State::Done;
        let stream = form.bytes.clone();
        let at = stream.start;
        let Some((stream, output)) = self.session.by_hand(page, stream) else {
            return Err(match self.session.is_silent() {
                true => Trouble::Silent,
                false => lost_page().into(),
            });
        };
        self.decoder
            .decode_exact(stream, output)
            .map_err(|error| MethodError::corrupt(NAME, at, error.to_string()))?;
        Ok(())
    }

    /// The page, which is done.
    fn content(&self, page: usize) -> Option<&[u8]> {
        let form = self.forms.get(page)?;
        match form.state {
            State::Raw => self.session.input().get(form.bytes.clone()),
            _ => self.session.output(page),
        }
    }
}

/// Reads a payload to where the device reads it, and says how long it is; `None` if there is no device any more.
fn read(
    session: Option<&mut Session>,
    payload: &mut Payload<'_>,
) -> Result<Option<usize>, MethodError> {
    let Some(Ok(room)) = session.map(Session::input_mut) else {
        return Ok(None);
    };
    let bytes = payload
        .read_rest(room)
        .map_err(MethodError::payload(NAME))?;
    Ok(Some(bytes.len()))
}

impl RecvMethod for DeviceRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        table::payload_limits(pages, self.page_size.bytes())
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let length = read(self.session.as_mut(), payload)?;
        let (Some(session), Some(length)) = (&mut self.session, length) else {
            self.counts.count(CodecPath::Software);
            self.counts.fell_back(Fallback::NoDevice);
            return self.own.recv(payload, pages);
        };
        let bytes = session.input().get(..length).unwrap_or_default();
        let table = Table::parse(bytes, pages.count(), self.page_size.bytes())
            .map_err(|error| MethodError::corrupt(NAME, error.at(), error.to_string()))?;
        self.forms.clear();
        self.forms.extend(table.pages().map(|page| Form {
            bytes: page.at..page.at + page.bytes.len(),
            state: match page.is_raw {
                true => State::Raw,
                false => State::AtWork,
            },
        }));
        let mut packet = Packet {
            session,
            decoder: &mut self.decoder,
            forms: &mut self.forms,
            tally: Tally::new(CodecPath::Hardware),
            status: None,
        };
        let status = match packet.run(pages) {
            Ok(()) => {
                packet.tally.count_in(&mut self.counts);
                packet.status
            }
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Silent) => {
                self.counts.count(CodecPath::Software);
                self.counts.fell_back(Fallback::NoDevice);
                // What the device was to read can be read by others, too.
                let bytes = session.input().get(..length).unwrap_or_default();
                self.own.unpack(bytes, pages)?;
                Some(Status::SILENT)
            }
        };
        // Only now: a payload that is wrong is the peer's fault.
        status.map_or(Ok(()), |status| session.permit(status))
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}
