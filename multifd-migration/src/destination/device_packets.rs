// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The state of devices that comes over the channels, until all of it is there.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use multifd_core::engine::Stall;
use multifd_core::{AbortHandle, DeviceState, DeviceStateSink, Error, Fault};
use parking_lot::{Condvar, Mutex};

use super::chunks::Chunks;
use crate::stream::Tail;

/// Knows whether all state of the devices has come over the channels.
#[derive(Clone, Debug, Default)]
pub(super) struct DevicePackets(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    arrived: Mutex<Arrived>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Arrived {
    devices: HashMap<Name, Chunks>,
    /// Packets that the host is being given.
    in_flight: usize,
    /// Nothing more may come.
    closed: bool,
}

/// A device's id string and instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Name(String, u32);

/// What is waited for beside the packets.
pub(super) struct Wait<'a> {
    pub(super) abort: &'a AbortHandle,
    /// How long nothing may come on the channels.
    pub(super) stall: Stall,
    /// How many bytes have come there.
    pub(super) received: &'a dyn Fn() -> u64,
    pub(super) is_gone: &'a dyn Fn() -> bool,
}

impl DevicePackets {
    /// A sink that notes what it gives on.
    pub(super) fn noting(&self, sink: DeviceStateSink) -> DeviceStateSink {
        let shared = Arc::clone(&self.0);
        Arc::new(move |state| {
            let name = Name(state.idstr.clone(), state.instance_id);
            let noted = shared.enter(&name, &state);
            let given = noted.and_then(|()| sink(state));
            shared.leave();
            given
        })
    }

    /// Waits until everything has come that `tail` and the packets themselves say there is. After that nothing more
    /// may come.
    ///
    /// A source that hands the guest over, as those of this project, has sent its packets before the last barrier: of
    /// those that it lays out in its own way all are there, too.
    ///
    /// # Errors
    /// Nothing comes for too long, or the source is gone; of a device it cannot be known when all is there; the migration
    /// failed.
    pub(super) fn complete(
        &self,
        tail: &Tail,
        hands_over: bool,
        mut wait: Wait<'_>,
    ) -> Result<(), Error> {
        let mut arrived = self.0.arrived.lock();
        for name in on_channels(tail) {
            arrived.devices.entry(name).or_default();
        }
        loop {
            if let Some(error) = wait.abort.error() {
                return Err(error);
            }
            let Some((name, what)) = arrived.missing() else {
                break;
            };
            let missing = |why: &str| {
                let what =
                    format!("{name}: {what} of its state have not come over the channels: {why}");
                Error::new(Fault::Peer, what)
            };
            if (wait.is_gone)() {
                return Err(missing("the source is gone"));
            }
            let Some(tick) = wait.stall.left((wait.received)()) else {
                let limit = wait.stall.limit().as_secs_f32();
                return Err(missing(&format!("nothing comes for {limit} s")));
            };
            self.0.more.wait_for(&mut arrived, tick);
        }
        arrived.closed = true;
        let unknown = arrived
            .devices
            .iter()
            .find(|(_, chunks)| chunks.is_unknown());
        match unknown {
            Some((name, _)) if !hands_over => {
                let what = format!(
                    "{name}: its state came over the channels in an unknown layout, so nothing says when all of \
                     it is there: turn off its transfer over multifd at the source"
                );
                Err(Error::new(Fault::Peer, what))
            }
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn enter(&self, name: &Name, state: &DeviceState) -> Result<(), SinkError> {
        let mut arrived = self.arrived.lock();
        arrived.in_flight += 1;
        if arrived.closed {
            return Err(peer(format!(
                "{name}: its state goes on when all of it has come"
            )));
        }
        let chunks = arrived.devices.entry(name.clone()).or_default();
        chunks
            .note(&state.data)
            .map_err(|what| peer(format!("{name}: {what}")))
    }

    fn leave(&self) {
        let mut arrived = self.arrived.lock();
        arrived.in_flight -= 1;
        self.more.notify_all();
    }
}

impl Arrived {
    /// The first device of which something is missing, and what that is.
    fn missing(&self) -> Option<(String, String)> {
        let devices = self.devices.iter();
        let missing = devices.filter_map(|(name, chunks)| Some((name, chunks.missing()?)));
        let first = missing.min_by_key(|(name, _)| *name);
        first
            .map(|(name, what)| (name.to_string(), what))
            .or_else(|| {
                let busy = (
                    "a device".to_owned(),
                    "what this side is still taking".to_owned(),
                );
                (self.in_flight > 0).then_some(busy)
            })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {:?}, instance {}", self.0, self.1)
    }
}

/// The devices whose sections say that their state goes over the channels: it is all that is in them.
fn on_channels(tail: &Tail) -> Vec<Name> {
    let sections = tail.sections.as_deref().unwrap_or_default();
    let is_vfio = |idstr: &str| idstr == VFIO || idstr.ends_with("/vfio");
    sections
        .iter()
        .filter(|section| is_vfio(&section.idstr) && tail.data(section) == NOTHING_HERE)
        .map(|section| Name(section.idstr.clone(), section.instance))
        .collect()
}

fn peer(what: String) -> SinkError {
    Box::new(Error::new(Fault::Peer, what))
}

type SinkError = Box<dyn std::error::Error + Send + Sync>;

const VFIO: &str = "vfio";
/// The tag of a VFIO section that says that it ends, and nothing before it.
const NOTHING_HERE: [u8; 8] = 0xffff_ffff_ef10_0001_u64.to_be_bytes();
