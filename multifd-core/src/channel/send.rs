// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pages and device state become packets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::device_state::DeviceState;
use super::failure::{
    caller, connection_error, content_error, method_error, own_pages_error, wire_error,
};
use super::init::send_init;
use super::stats::{Counters, thread_cpu_time};
use crate::adapt::{Pilot, Steering};
use crate::error::{Error, Fault, Place};
use crate::geometry::PageSize;
use crate::memory::{Access, IoVecList, RamBlock};
use crate::method::SendMethod;
use crate::pages::{PageRuns, Segments};
use crate::transport::{Transport, send_all};
use crate::wire::{
    BlockName, DeviceStateHeader, InitPacket, MethodId, PacketFlags, PageOffsets, RamHeaderBuffer,
};

/// The sending end of one channel, as its thread sees it.
pub(crate) struct SendChannel<'m> {
    method_id: MethodId,
    method: Box<dyn SendMethod>,
    transport: &'m mut dyn Transport,
    /// One count over all channels of the migration.
    packet_num: &'m AtomicU64,
    counters: Arc<Counters>,
    /// Chooses the method's rung for each packet, if there is something to choose from.
    pilot: Option<Pilot>,
    runs: PageRuns<'m>,
    vecs: IoVecList,
    header: RamHeaderBuffer,
    packets: u64,
}

impl<'m> SendChannel<'m> {
    pub(crate) fn new(
        page_size: PageSize,
        (method_id, method): (MethodId, Box<dyn SendMethod>),
        transport: &'m mut dyn Transport,
        packet_num: &'m AtomicU64,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            method_id,
            method,
            transport,
            packet_num,
            counters,
            pilot: None,
            runs: PageRuns::new(page_size),
            vecs: IoVecList::with_capacity(page_size.pages_per_packet() + 1 + HEADERS),
            header: RamHeaderBuffer::new(page_size),
            packets: 0,
        }
    }

    /// From now on each packet is made on the rung that is chosen for it.
    pub(crate) fn choose_rungs(&mut self, steering: &Steering) {
        self.counters.chooses_from(steering.ladder());
        self.pilot = Some(steering.pilot(thread_cpu_time()));
    }

    /// The channel has waited for so long to keep to a bandwidth.
    pub(crate) fn held(&mut self, time: Duration) {
        if let Some(pilot) = &mut self.pilot {
            pilot.held(time);
        }
    }

    /// Sends the initial packet.
    pub(crate) fn send_init(&mut self, packet: InitPacket) -> Result<(), Error> {
        send_init(self.transport, packet, &self.counters)
    }

    /// Sends one packet of pages of the block `name`. The content of the normal pages is at as many
    /// offsets of another block.
    pub(crate) fn send_pages(
        &mut self,
        name: &BlockName,
        pages: PageOffsets<'_>,
        content: (&'m RamBlock, &[u64]),
    ) -> Result<(), Error> {
        self.send_packet(name, pages, content)
            .map_err(|error| error.at(self.place().block(name.as_str())))
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
        let bytes = state.data.len();
        let payload_len = u32::try_from(bytes)
            .map_err(|_| caller(format!("device state of {bytes} bytes")).at(self.place()))?;
        let header = DeviceStateHeader {
            idstr: state.idstr.as_bytes(),
            instance_id: state.instance_id,
            payload_len,
        };
        let header = header.encode();
        // A sender's has been looked at before; what a relay passes on comes from its source.
        let header = header.map_err(|error| wire_error(error).at(self.place()))?;
        send_all(
            self.transport,
            &mut [header.as_slice().into(), state.data.as_slice().into()],
        )
        .map_err(|error| connection_error(error).at(self.place()))?;
        self.sent(0, 0, header.len() + state.data.len());
        Ok(())
    }

    fn send_packet(
        &mut self,
        name: &BlockName,
        pages: PageOffsets<'_>,
        (memory, content): (&'m RamBlock, &[u64]),
    ) -> Result<(), Error> {
        let (normal, zero) = (pages.normal.len(), pages.zero.len());
        if content.len() != normal {
            let got = content.len();
            return Err(caller(format!("the content of {got} pages for {normal}")));
        }
        // Before the method sees them.
        self.runs.set(memory, content).map_err(own_pages_error)?;

        let mut segments = Segments::new(&mut self.vecs);
        if normal > 0 {
            let pages = self.runs.pages();
            if let Some(pilot) = &mut self.pilot {
                self.method.select(pilot.choose());
            }
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
        self.header
            .set_pages(
                PacketFlags::pages(self.method_id),
                self.packet_num.fetch_add(1, Ordering::Relaxed),
                name,
                pages,
                payload_len,
            )
            .map_err(|error| Error::new(Fault::Caller, error))?;
        let header = self.header.as_bytes();
        let wire_bytes = header.len() + payload;
        send_all(self.transport, segments.with_header(header))
            .map_err(|error| content_error(error, Access::Read))?;
        if normal > 0 {
            self.counters.path(self.method.paths());
        }
        self.sent(normal, zero, wire_bytes);
        if let Some(pilot) = self.pilot.as_mut().filter(|_| normal > 0) {
            let guest_bytes = self.runs.pages().bytes();
            let clocks = self.counters.read_clocks(self.transport.waited());
            pilot.sent(guest_bytes, wire_bytes, clocks);
            self.counters.rung(pilot.rung(), guest_bytes, wire_bytes);
        }
        Ok(())
    }

    fn sent(&mut self, normal: usize, zero: usize, wire_bytes: usize) {
        self.packets += 1;
        self.counters.packet(normal, zero, wire_bytes);
        self.counters.clocks(self.transport.waited());
    }

    fn place(&self) -> Place {
        Place::default().packet(self.packets)
    }
}

/// Room for what a method puts between pages that it leaves as they are, and for the parts into which that cuts them: the
/// shortest blocks of any format are those of deflate, of which a packet has nine.
const HEADERS: usize = 32;
