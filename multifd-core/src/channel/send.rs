//! Batches of pages become packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::zero_pages::ZeroPages;
use super::{Batch, Counters, DeviceState, connection_error, method_error, send_init};
use crate::error::{Error, Fault, Place};
use crate::memory::{GuestMemory, IoVecList, RamBlock};
use crate::method::SendMethod;
use crate::pages::{PageRuns, Segments};
use crate::transport::{Transport, send_all};
use crate::wire::{
    BlockName, DeviceStateHeader, InitPacket, MethodId, PacketFlags, RamHeaderBuffer,
};

/// The sending end of one channel, as its thread sees it.
pub(crate) struct SendChannel<'m> {
    pub(super) memory: &'m GuestMemory,
    method_id: MethodId,
    method: Box<dyn SendMethod>,
    transport: &'m mut dyn Transport,
    /// One count over all channels of the migration.
    packet_num: &'m AtomicU64,
    counters: Arc<Counters>,
    pub(super) zero_pages: Option<ZeroPages>,
    runs: PageRuns<'m>,
    vecs: IoVecList,
    header: RamHeaderBuffer,
    packets: u64,
}

impl<'m> SendChannel<'m> {
    pub(crate) fn new(
        memory: &'m GuestMemory,
        (method_id, method): (MethodId, Box<dyn SendMethod>),
        transport: &'m mut dyn Transport,
        packet_num: &'m AtomicU64,
        counters: Arc<Counters>,
    ) -> Self {
        let page_size = memory.page_size();
        Self {
            memory,
            method_id,
            method,
            transport,
            packet_num,
            counters,
            zero_pages: None,
            runs: PageRuns::new(page_size),
            vecs: IoVecList::with_capacity(page_size.pages_per_packet() + 1),
            header: RamHeaderBuffer::new(page_size),
            packets: 0,
        }
    }

    /// Looks for zero pages and lists them without payload.
    pub(crate) fn detect_zero_pages(&mut self) {
        self.zero_pages = Some(ZeroPages::new(self.memory.page_size()));
    }

    /// Sends the initial packet.
    pub(crate) fn send_init(&mut self, packet: InitPacket) -> Result<(), Error> {
        send_init(self.transport, packet, &self.counters)
    }

    /// Sends a batch as one packet; an empty batch is none.
    pub(crate) fn send_pages(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let Some(block) = batch.block.and_then(|index| self.memory.block(index)) else {
            return Ok(());
        };
        self.send_packet(block, batch)
            .map_err(|error| error.at(self.place().block(block.name().as_str())))
    }

    /// Sends a barrier.
    pub(crate) fn send_sync(&mut self) -> Result<(), Error> {
        self.header
            .set_sync(self.packet_num.fetch_add(1, Ordering::Relaxed));
        let bytes = self.header.as_bytes();
        send_all(self.transport, &mut [bytes.into()])
            .map_err(|error| connection_error(error).at(self.place()))?;
        self.sent(0, 0, self.header.as_bytes().len());
        Ok(())
    }

    /// Sends a piece of device state, of 1 byte to [`DeviceStateHeader::MAX_PAYLOAD`].
    pub(crate) fn send_device_state(&mut self, state: &DeviceState) -> Result<(), Error> {
        let header = DeviceStateHeader {
            idstr: state.idstr.as_bytes(),
            instance_id: state.instance_id,
            payload_len: u32::try_from(state.data.len()).unwrap_or(u32::MAX),
        }
        .encode();
        send_all(
            self.transport,
            &mut [header.as_slice().into(), state.data.as_slice().into()],
        )
        .map_err(|error| connection_error(error).at(self.place()))?;
        self.sent(0, 0, header.len() + state.data.len());
        Ok(())
    }

    fn send_packet(&mut self, block: &'m RamBlock, batch: &mut Batch) -> Result<(), Error> {
        let normal = match &mut self.zero_pages {
            Some(zero_pages) => zero_pages.partition(block, &mut batch.offsets),
            None => batch.offsets.len(),
        };
        let (pages, _) = batch.offsets.split_at_checked(normal).unwrap_or_default();
        self.send_named(block, pages, block.name(), &batch.offsets)
    }

    /// Sends one packet with the content of `pages`, which are offsets in `memory`. On the wire its
    /// pages are those at `offsets` of the block `name`: first as many as there are in `pages`, then
    /// zero pages.
    pub(super) fn send_named(
        &mut self,
        memory: &'m RamBlock,
        pages: &[u64],
        name: &BlockName,
        offsets: &[u64],
    ) -> Result<(), Error> {
        let normal = pages.len();
        self.runs.set(memory, pages).map_err(|offset| {
            let what = "page outside of its block";
            Error::new(Fault::Caller, what).at(Place::default().offset(offset))
        })?;

        let mut segments = Segments::new(&mut self.vecs);
        if normal > 0 {
            let pages = self.runs.pages();
            self.method
                .send_prepare(&pages, &mut segments)
                .map_err(method_error)?;
        }
        let payload = segments.bytes();
        let payload_len = u32::try_from(payload).map_err(|_| {
            Error::new(
                Fault::Device,
                format!("the method made a payload of {payload} bytes"),
            )
        })?;
        self.header.set_pages(
            PacketFlags::pages(self.method_id),
            self.packet_num.fetch_add(1, Ordering::Relaxed),
            name,
            offsets,
            normal,
            payload_len,
        );
        let header = self.header.as_bytes();
        let wire_bytes = header.len() + payload;
        send_all(self.transport, segments.with_header(header)).map_err(connection_error)?;
        if normal > 0 {
            self.counters.path(self.method.paths());
        }
        self.sent(normal, offsets.len() - normal, wire_bytes);
        Ok(())
    }

    fn sent(&mut self, normal: usize, zero: usize, wire_bytes: usize) {
        self.packets += 1;
        self.counters.packet(normal, zero, wire_bytes);
        self.counters.clocks(self.transport.waited());
    }

    pub(super) fn place(&self) -> Place {
        Place::default().packet(self.packets)
    }
}
