// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parcels of a relay become packets.

use std::time::Duration;

use super::parcel::Parcel;
use crate::channel::{SendChannel, caller, is_zero_page};
use crate::error::Error;
use crate::geometry::PageSize;
use crate::memory::{GuestMemory, RamBlock};
use crate::wire::PageOffsets;

/// The sending end of one channel of a relay, as its thread sees it.
pub(super) struct ParcelChannel<'m> {
    channel: SendChannel<'m>,
    windows: &'m RamBlock,
    page_size: PageSize,
    zero_pages: bool,
    /// Where the content of the normal pages is, in the windows.
    places: Vec<u64>,
    /// Where the normal pages are, in their block.
    normal: Vec<u64>,
    /// Where the zero pages are, in their block.
    zero: Vec<u64>,
}

impl<'m> ParcelChannel<'m> {
    /// A channel that sends what is in the windows of parcels. The destination knows zero pages in
    /// packets, or does not.
    pub(super) fn new(
        channel: SendChannel<'m>,
        windows: &'m GuestMemory,
        zero_pages: bool,
    ) -> Result<Self, Error> {
        let page_size = windows.page_size();
        let pages = page_size.pages_per_packet();
        let windows = windows.blocks().first();
        Ok(Self {
            channel,
            windows: windows.ok_or_else(|| caller("no windows"))?,
            page_size,
            zero_pages,
            places: Vec::with_capacity(pages),
            normal: Vec::with_capacity(pages),
            zero: Vec::with_capacity(pages),
        })
    }

    /// Sends what is in a parcel as one packet.
    pub(super) fn send(&mut self, parcel: &Parcel) -> Result<(), Error> {
        if let Some(state) = &parcel.device_state {
            return self.channel.send_device_state(state);
        }
        let block = parcel.block.as_ref();
        let block = block.ok_or_else(|| caller("a parcel with nothing in it"))?;
        self.sort(parcel)?;
        let pages = PageOffsets {
            normal: &self.normal,
            zero: &self.zero,
        };
        self.channel
            .send_pages(block, pages, (self.windows, &self.places))
    }

    /// The channel has waited for so long to keep to a bandwidth.
    pub(super) fn held(&mut self, time: Duration) {
        self.channel.held(time);
    }

    /// Sends a barrier.
    pub(super) fn send_sync(&mut self) -> Result<(), Error> {
        self.channel.send_sync()
    }

    /// Finds out which pages are sent with their content and which as zero pages.
    ///
    /// A destination that knows zero pages gets those that the source has named, and those among the
    /// others that are zero. Any other destination gets the content of every page.
    fn sort(&mut self, parcel: &Parcel) -> Result<(), Error> {
        self.normal.clear();
        self.zero.clear();
        self.places.clear();
        let pages = parcel.normal.len() + parcel.zero.len();
        if pages > self.page_size.pages_per_packet() {
            return Err(caller(format!("a parcel of {pages} pages")));
        }
        let mut places = parcel.places(self.page_size);
        for (offset, place) in parcel.normal.iter().zip(&mut places) {
            if self.zero_pages && is_zero_page(self.windows, place, self.page_size) {
                self.zero.push(*offset);
            } else {
                self.normal.push(*offset);
                self.places.push(place);
            }
        }
        if self.zero_pages {
            self.zero.extend_from_slice(&parcel.zero);
            return Ok(());
        }
        for (offset, place) in parcel.zero.iter().zip(places) {
            let page = self.windows.span(place, self.page_size.bytes());
            page.ok_or_else(|| caller("page outside the windows"))?
                .clear();
            self.normal.push(*offset);
            self.places.push(place);
        }
        Ok(())
    }
}
