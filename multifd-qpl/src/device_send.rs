//! The sending side on a device: all pages of a packet at once.

use std::ops::Range;

use multifd_core::method::{CodecPath, Fallback, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::PageEncoder;
use multifd_deflate::table::Lengths;

use crate::engine::too_many_pages;
use crate::job::{Operation, Queue};
use crate::software;

/// State of one sending channel. Nothing in it goes from packet to packet.
///
/// What the device wrote is sent from where it wrote it.
pub(crate) struct DeviceSend {
    page_size: usize,
    /// Reads a private copy of the pages, which holds still; a slot for each.
    queue: Queue,
    encoder: PageEncoder,
    forms: Vec<Form>,
    lengths: Lengths,
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
    /// `queue` has a slot for each page of a packet.
    pub(crate) fn new(setup: &ChannelSetup, encoder: PageEncoder, queue: Queue) -> Self {
        let most = setup.page_size.pages_per_packet();
        Self {
            page_size: setup.page_size.bytes(),
            queue,
            encoder,
            forms: Vec::with_capacity(most),
            lengths: Lengths::new(most),
            counts: PathCounts::default(),
        }
    }

    fn submit(&mut self, page: usize, tally: &mut Tally) -> Form {
        let input = self.input(page);
        let room = self.page_size.saturating_sub(1);
        match self.queue.submit(page, Operation::Compress, input, room) {
            Ok(()) => Form::AtWork,
            Err(status) => self.by_software(page, status.fallback(), tally),
        }
    }

    fn finish(&mut self, page: usize, tally: &mut Tally) -> Form {
        match self.queue.wait(page) {
            Ok(0) => self.by_software(page, Fallback::Failed, tally),
            Ok(length) => Form::Stream(length),
            Err(status) if status.is_no_room() => Form::Raw,
            Err(status) => self.by_software(page, status.fallback(), tally),
        }
    }

    fn by_software(&mut self, page: usize, reason: Fallback, tally: &mut Tally) -> Form {
        tally.fell_back(reason);
        let input = self.input(page);
        let shorter = self.page_size.saturating_sub(1);
        self.queue
            .by_hand(page, input)
            .and_then(|(page, output)| {
                software::encode(&mut self.encoder, page, output.get_mut(..shorter)?)
            })
            .map_or(Form::Raw, Form::Stream)
    }

    /// Where the page is in the input.
    fn input(&self, page: usize) -> Range<usize> {
        page * self.page_size..(page + 1) * self.page_size
    }

    fn bytes(&self, page: usize, form: Form) -> Option<&[u8]> {
        match form {
            Form::Stream(length) => self.queue.output(page)?.get(..length),
            Form::Raw => self.queue.input().get(self.input(page)),
            Form::AtWork => None,
        }
    }
}

impl SendMethod for DeviceSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        if pages.copy_to(self.queue.input_mut()) < pages.bytes() {
            return Err(too_many_pages());
        }
        let mut tally = Tally::new(CodecPath::Hardware);
        self.forms.clear();
        for page in 0..pages.count() {
            let form = self.submit(page, &mut tally);
            self.forms.push(form);
        }
        self.lengths.clear();
        for page in 0..pages.count() {
            let mut form = self.forms.get(page).copied().unwrap_or(Form::Raw);
            if form == Form::AtWork {
                form = self.finish(page, &mut tally);
            }
            if let Some(known) = self.forms.get_mut(page) {
                *known = form;
            }
            self.lengths.push(match form {
                Form::Stream(length) => length,
                _ => self.page_size,
            });
        }
        tally.count_in(&mut self.counts);

        let this = &*self;
        out.push(this.lengths.as_bytes());
        for (page, form) in this.forms.iter().enumerate() {
            out.push(this.bytes(page, *form).ok_or_else(too_many_pages)?);
        }
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}
