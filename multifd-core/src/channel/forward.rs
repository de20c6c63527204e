//! Parcels of a relay become packets.

use super::{Parcel, SendChannel, caller};
use crate::error::Error;
use crate::geometry::PageSize;
use crate::memory::RamBlock;

/// The sending end of one channel of a relay, as its thread sees it.
pub(crate) struct ParcelChannel<'m> {
    channel: SendChannel<'m>,
    page_size: PageSize,
    /// Where the content of the pages is, in the windows.
    local: Vec<u64>,
    /// Where the pages are, in their block.
    offsets: Vec<u64>,
}

impl<'m> ParcelChannel<'m> {
    /// A channel that sends what is in the windows of parcels, which are its memory.
    pub(crate) fn new(channel: SendChannel<'m>) -> Self {
        let page_size = channel.memory.page_size();
        let pages = page_size.pages_per_packet();
        Self {
            channel,
            page_size,
            local: Vec::with_capacity(pages),
            offsets: Vec::with_capacity(pages),
        }
    }

    /// Sends what is in a parcel as one packet.
    pub(crate) fn send(&mut self, parcel: &Parcel) -> Result<(), Error> {
        if let Some(state) = &parcel.device_state {
            return self.channel.send_device_state(state);
        }
        let Some(block) = &parcel.block else {
            return Ok(());
        };
        let windows = self.channel.memory.blocks().first();
        let windows = windows.ok_or_else(|| caller("no windows"))?;
        self.sort(windows, parcel)?;
        self.channel
            .send_named(windows, &self.local, block, &self.offsets)
            .map_err(|error| error.at(self.channel.place().block(block.as_str())))
    }

    /// Sends a barrier.
    pub(crate) fn send_sync(&mut self) -> Result<(), Error> {
        self.channel.send_sync()
    }

    /// Finds out which pages are sent with their content and which as zero pages.
    ///
    /// A destination that knows zero pages gets those that the source has named, and those among the
    /// others that are zero. Any other destination gets the content of every page.
    fn sort(&mut self, windows: &RamBlock, parcel: &Parcel) -> Result<(), Error> {
        self.offsets.clear();
        self.local.clear();
        let all = parcel.offsets.len();
        let Some(zero_pages) = &mut self.channel.zero_pages else {
            self.offsets.extend_from_slice(&parcel.offsets);
            self.local.extend(parcel.local(self.page_size, all));
            for place in self.local.iter().skip(parcel.normal) {
                let page = windows.span(*place, self.page_size.bytes());
                page.ok_or_else(|| caller("page outside of the windows"))?
                    .clear();
            }
            return Ok(());
        };
        self.local
            .extend(parcel.local(self.page_size, parcel.normal));
        let normal = zero_pages.partition(windows, &mut self.local);
        let page = self.page_size.bytes_u64();
        for place in &self.local {
            let at = usize::try_from((place - parcel.window) / page).unwrap_or(usize::MAX);
            let offset = parcel.offsets.get(at);
            self.offsets
                .push(*offset.ok_or_else(|| caller("page outside of its parcel"))?);
        }
        self.local.truncate(normal);
        let named_zero = parcel.offsets.get(parcel.normal..).unwrap_or_default();
        self.offsets.extend_from_slice(named_zero);
        Ok(())
    }
}
