// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the channels of a relay meet: packets go from those that receive to those that send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{self as queue, select_biased};

use super::delay::DelayCounters;
use super::pace::Bandwidth;
use super::parcel::{Parcel, windows};
use super::room::DeviceRoom;
use crate::channel::DeviceState;
use crate::engine::control::{Control, Gate};
use crate::error::{Error, Fault};
use crate::geometry::PageSize;
use crate::memory::GuestMemory;

/// A fixed number of parcels, which go round: empty ones to the channels that receive, full ones to
/// those that send. So the memory of a relay is bounded, and a slow destination slows its source.
pub(super) struct Exchange {
    pub(super) control: Arc<Control>,
    /// The places of all parcels.
    pub(super) windows: GuestMemory,
    count: usize,
    give_empty: queue::Sender<Parcel>,
    empty: queue::Receiver<Parcel>,
    give_full: queue::Sender<Parcel>,
    pub(super) full: queue::Receiver<Parcel>,
    /// Parcels that were handed over and have not been sent.
    waiting: AtomicUsize,
    /// How many barriers all receiving channels have passed.
    pub(super) round: AtomicU64,
    bandwidths: Bandwidths,
    switchover: Gate,
    device_room: DeviceRoom,
    /// Channels that have device state and wait for the switchover.
    early: AtomicUsize,
    /// From the last byte of a packet received until its last byte is sent.
    pub(super) packets: DelayCounters,
}

/// The bandwidths of what is received, and of what is sent.
#[derive(Clone, Debug)]
pub(super) struct Bandwidths {
    pub(super) recv: Bandwidth,
    pub(super) send: Bandwidth,
}

impl Exchange {
    pub(super) fn new(
        control: Arc<Control>,
        page_size: PageSize,
        count: usize,
        bandwidths: Bandwidths,
    ) -> Result<Self, Error> {
        let windows =
            windows(page_size, count).map_err(|error| Error::new(Fault::Caller, error))?;
        let (give_empty, empty) = queue::bounded(count);
        let (give_full, full) = queue::bounded(count);
        for at in 0..count {
            // There is room for all.
            let _ = give_empty.send(Parcel::new(page_size, at));
        }
        Ok(Self {
            control,
            windows,
            count,
            give_empty,
            empty,
            give_full,
            full,
            waiting: AtomicUsize::new(0),
            round: AtomicU64::new(0),
            bandwidths,
            switchover: Gate::new(),
            device_room: DeviceRoom::new(),
            early: AtomicUsize::new(0),
            packets: DelayCounters::default(),
        })
    }

    /// Takes back a parcel that has been sent as so many bytes.
    pub(super) fn sent(&self, mut parcel: Parcel, wire_bytes: u64) {
        self.packets.add(parcel.received.elapsed());
        if let Some(state) = &parcel.device_state {
            self.device_room.give_back(state.data.len());
        }
        parcel.clear();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        // There is room for all; if nobody takes it, the migration is over.
        let _ = self.give_empty.send(parcel);
        self.bandwidths.send.0.spend(wire_bytes, &self.control);
    }

    /// How many packets wait for the destination to take them, or are being taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the receiving channels wait for the sending ones.
    pub(super) fn is_full(&self) -> bool {
        self.empty.is_empty() || self.device_room.is_full()
    }

    /// Why channels may not come to their barrier, in words for an error.
    pub(super) fn held(&self) -> String {
        match self.early.load(Ordering::Relaxed) {
            0 => String::new(),
            early => format!(
                "; {early} channels have device state, which waits for the command SWITCHOVER_START"
            ),
        }
    }

    /// Device state may go on from now on.
    pub(super) fn open_switchover(&self) {
        self.switchover.open();
    }

    /// Waits until so many bytes of device state may be received: for the switchover, since the destination is not
    /// ready for it before the main channel says so, and for room.
    pub(super) fn admit_device_state(&self, bytes: usize) -> Result<(), Error> {
        self.early.fetch_add(1, Ordering::Relaxed);
        select_biased! {
            recv(self.control.woken()) -> _ => return Err(self.control.reason()),
            recv(self.switchover.opened()) -> _ => {}
        }
        self.early.fetch_sub(1, Ordering::Relaxed);
        self.device_room.take(bytes, &self.control)
    }

    /// Passes on device state that has been admitted.
    pub(super) fn pass_device_state(&self, state: DeviceState) -> Result<(), Error> {
        let mut parcel = self.empty().ok_or_else(|| self.control.reason())?;
        parcel.set_device_state(state);
        self.pass_on(parcel);
        Ok(())
    }

    /// Waits until every parcel is empty, once nothing more is received.
    pub(super) fn wait_empty(&self) -> Result<(), Error> {
        let parcels: Option<Vec<_>> = (0..self.count).map(|_| self.empty()).collect();
        parcels.map(drop).ok_or_else(|| self.control.reason())
    }

    /// An empty parcel; waits for one. `None` once the migration is over.
    pub(super) fn empty(&self) -> Option<Parcel> {
        select_biased! {
            recv(self.control.woken()) -> _ => None,
            recv(self.empty) -> parcel => parcel.ok(),
        }
    }

    /// Takes a parcel that is to be sent.
    pub(super) fn pass_on(&self, parcel: Parcel) {
        let wire_bytes = parcel.wire_bytes as u64;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // There is room for all; if nobody takes it, the migration is over.
        let _ = self.give_full.send(parcel);
        self.bandwidths.recv.0.spend(wire_bytes, &self.control);
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchange({} packets waiting)", self.waiting())
    }
}
