//! The receiving side on a device: all pages of a packet at once.

use std::ops::{Range, RangeInclusive};

use multifd_core::method::{CodecPath, Fallback, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError, PageSize, PagesMut, Payload, RecvMethod};
use multifd_deflate::Decoder;
use multifd_deflate::table::{self, Table};

use crate::engine::{NAME, too_many_pages};
use crate::job::{Operation, Queue};

/// State of one receiving channel. Nothing in it goes from packet to packet.
pub(crate) struct DeviceRecv {
    page_size: PageSize,
    /// Reads the payload; a slot for each page.
    queue: Queue,
    decoder: Decoder,
    forms: Vec<Form>,
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
    /// `queue` has a slot for each page of a packet, and room for the largest payload.
    pub(crate) fn new(setup: &ChannelSetup, decoder: Decoder, queue: Queue) -> Self {
        Self {
            page_size: setup.page_size,
            queue,
            decoder,
            forms: Vec::with_capacity(setup.page_size.pages_per_packet()),
            counts: PathCounts::default(),
        }
    }

    fn read(&mut self, payload: &mut Payload<'_>, pages: usize) -> Result<(), MethodError> {
        let bytes = self.queue.input_mut();
        let bytes = bytes
            .get_mut(..payload.remaining())
            .ok_or_else(too_many_pages)?;
        payload
            .read_exact(bytes)
            .map_err(MethodError::payload(NAME))?;
        let table = Table::parse(bytes, pages, self.page_size.bytes())
            .map_err(|error| MethodError::corrupt(NAME, error.at(), error.to_string()))?;
        self.forms.clear();
        self.forms.extend(table.pages().map(|page| Form {
            bytes: page.at..page.at + page.bytes.len(),
            state: if page.is_raw {
                State::Raw
            } else {
                State::AtWork
            },
        }));
        Ok(())
    }

    fn submit(&mut self, page: usize, tally: &mut Tally) -> Result<(), MethodError> {
        let Some(form) = self
            .forms
            .get(page)
            .filter(|form| form.state == State::AtWork)
        else {
            return Ok(());
        };
        let (stream, room) = (form.bytes.clone(), self.page_size.bytes());
        match self.queue.submit(page, Operation::Decompress, stream, room) {
            Ok(()) => Ok(()),
            Err(status) => self.by_software(page, status.fallback(), tally),
        }
    }

    fn finish(&mut self, page: usize, tally: &mut Tally) -> Result<(), MethodError> {
        if self.state(page) != Some(State::AtWork) {
            return Ok(());
        }
        match self.queue.wait(page) {
            Ok(written) if written == self.page_size.bytes() => Ok(()),
            Ok(_) => self.by_software(page, Fallback::Failed, tally),
            Err(status) => self.by_software(page, status.fallback(), tally),
        }
    }

    /// Where the device did not make a page of a stream, the decoder tells whether the stream is bad or the
    /// device cannot take it.
    fn by_software(
        &mut self,
        page: usize,
        reason: Fallback,
        tally: &mut Tally,
    ) -> Result<(), MethodError> {
        tally.fell_back(reason);
        let form = self.forms.get_mut(page).ok_or_else(too_many_pages)?;
        form.state = State::Done;
        let stream = form.bytes.clone();
        let at = stream.start;
        let (stream, output) = self
            .queue
            .by_hand(page, stream)
            .ok_or_else(too_many_pages)?;
        self.decoder
            .decode_exact(stream, output)
            .map_err(|error| MethodError::corrupt(NAME, at, error.to_string()))
    }

    fn state(&self, page: usize) -> Option<State> {
        self.forms.get(page).map(|form| form.state)
    }

    /// The page, which is done.
    fn content(&self, page: usize) -> Option<&[u8]> {
        let form = self.forms.get(page)?;
        match form.state {
            State::Raw => self.queue.input().get(form.bytes.clone()),
            _ => self.queue.output(page),
        }
    }
}

impl RecvMethod for DeviceRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        table::payload_limits(pages, self.page_size.bytes())
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        self.read(payload, pages.count())?;
        let mut tally = Tally::new(CodecPath::Hardware);
        for page in 0..pages.count() {
            self.submit(page, &mut tally)?;
        }
        let mut writer = pages.writer();
        for page in 0..pages.count() {
            self.finish(page, &mut tally)?;
            writer.write(self.content(page).ok_or_else(too_many_pages)?);
        }
        tally.count_in(&mut self.counts);
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}
