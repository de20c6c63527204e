//! Packets that arrive are passed on by a relay.

use std::time::Instant;

use super::recv::{Packet, RecvChannel, recv_payload};
use super::{Transit, caller};
use crate::error::Error;
use crate::pages::PageRuns;
use crate::wire::BlockName;

impl RecvChannel<'_> {
    /// Decodes the pages of a packet into an empty parcel and hands it over. Waits for a parcel while
    /// there is none: that is what holds back a source that is faster than the destination.
    pub(super) fn pass_on<'m>(
        &mut self,
        transit: &'m Transit,
        block: &BlockName,
        packet: &Packet,
        runs: &mut PageRuns<'m>,
    ) -> Result<(), Error> {
        let mut parcel = transit.depot.empty().ok_or_else(Error::aborted)?;
        parcel.clear();
        if !self.normal.is_empty() {
            let window = transit.windows.blocks().first();
            let window = window.ok_or_else(|| caller("no windows"))?;
            self.local.clear();
            self.local
                .extend(parcel.places(self.page_size).take(self.normal.len()));
            if self.local.len() != self.normal.len() {
                return Err(caller("more pages than a parcel has places"));
            }
            runs.set(window, &self.local)
                .map_err(|_| caller("page outside of the windows"))?;
            recv_payload(&mut *self.method, &mut self.reader, packet, runs)?;
            self.counters.path(self.method.paths());
        }
        parcel.block = Some(block.clone());
        parcel.normal.extend_from_slice(&self.normal);
        parcel.zero.extend_from_slice(&self.zero);
        parcel.round = self.syncs;
        parcel.wire_bytes = packet.header_len + packet.payload_len;
        parcel.received = Instant::now();
        transit.depot.pass_on(parcel);
        Ok(())
    }
}
