// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the channels of a destination meet the main channel.

use std::time::Duration;

use crossbeam_channel::{self as queue, select_biased};
use parking_lot::Mutex;

use super::control::Control;
use super::stall::Stall;
use crate::error::{Error, Fault, Place};
use crate::geometry::{ChannelCount, ChannelId};

/// A barrier of all channels and the main channel. A channel that arrives is parked until all have
/// arrived and the main channel has, too.
#[derive(Debug)]
pub(super) struct Barrier {
    /// Where it is, for errors.
    place: Place,
    arrive: queue::Sender<Arrival>,
    arrived: queue::Receiver<Arrival>,
    release: Vec<queue::Sender<()>>,
    /// Each channel's own end, until the channel takes it.
    places: Mutex<Vec<Option<queue::Receiver<()>>>>,
}

/// One channel's end of the barrier.
#[derive(Debug)]
pub(super) struct BarrierPlace {
    channel: ChannelId,
    arrive: queue::Sender<Arrival>,
    released: queue::Receiver<()>,
}

/// What ends a wait at a barrier but the channels.
pub(super) struct Watch<'a> {
    /// How long nothing may move.
    pub(super) limit: Duration,
    /// A count that moves when the channels make progress.
    pub(super) moved: &'a dyn Fn() -> u64,
    /// While this is so the count need not move.
    pub(super) excused: &'a dyn Fn() -> bool,
    /// Whether the source has gone away.
    pub(super) is_gone: &'a dyn Fn() -> bool,
    /// What there is to say when channels are not connected.
    pub(super) note: &'a dyn Fn() -> String,
    /// Why channels that are connected may not come; nothing if that is not known.
    pub(super) held: &'a dyn Fn() -> String,
    /// Called when all channels have arrived, before any goes on.
    pub(super) met: &'a dyn Fn(),
}

/// What a channel tells the barrier.
#[derive(Debug)]
enum Arrival {
    /// It has come to a SYNC.
    Sync(ChannelId),
    /// Its connection was closed, so it will never come to one.
    Closed(ChannelId),
}

impl Barrier {
    pub(super) fn new(place: Place, channels: ChannelCount) -> Self {
        let (arrive, arrived) = queue::bounded(channels.count());
        let (release, places) = channels
            .ids()
            .map(|_| {
                let (release, released) = queue::bounded(1);
                (release, Some(released))
            })
            .unzip();
        Self {
            place,
            arrive,
            arrived,
            release,
            places: Mutex::new(places),
        }
    }

    /// The place of a channel; `None` if it has been taken.
    pub(super) fn take_place(&self, channel: ChannelId) -> Option<BarrierPlace> {
        let released = self.places.lock().get_mut(channel.index())?.take()?;
        Some(BarrierPlace {
            channel,
            arrive: self.arrive.clone(),
            released,
        })
    }

    /// How many channels have taken their place.
    pub(super) fn places_taken(&self) -> usize {
        self.places
            .lock()
            .iter()
            .filter(|place| place.is_none())
            .count()
    }

    /// Waits until all channels have arrived, then lets them go on.
    ///
    /// # Errors
    /// The migration failed, no channel has arrived or made progress for too long, or the source is gone.
    pub(super) fn meet(&self, control: &Control, watch: &Watch<'_>) -> Result<(), Error> {
        let mut waiting = vec![true; self.release.len()];
        let mut arrivals = 0;
        let mut stall = Stall::new(watch.limit);
        let mut left = stall.left((watch.moved)());
        let mut farewell: Option<Stall> = None;
        while arrivals < self.release.len() {
            let tick = left.ok_or_else(|| self.missing(&waiting, watch))?;
            let arrival = select_biased! {
                recv(control.woken()) -> _ => return Err(control.reason()),
                recv(self.arrived) -> arrival => arrival.map_err(|_| control.reason())?,
                default(tick.min(LOOK)) => {
                    let moved = (watch.moved)();
                    if (watch.is_gone)() {
                        // What it has sent before on the channels may not have been read yet.
                        let farewell = farewell.get_or_insert_with(|| Stall::new(FAREWELL));
                        if farewell.left(moved).is_none() {
                            return Err(self.gone(&waiting, watch));
                        }
                    }
                    left = stall.left(moved);
                    if left.is_none() && (watch.excused)() {
                        left = Some(stall.restart());
                    }
                    continue;
                }
            };
            let channel = match arrival {
                Arrival::Sync(channel) => channel,
                Arrival::Closed(channel) => return Err(self.closed(channel)),
            };
            left = Some(stall.restart());
            arrivals += 1;
            if let Some(waiting) = waiting.get_mut(channel.index()) {
                *waiting = false;
            }
        }
        (watch.met)();
        for release in &self.release {
            // A channel waits for one release before it arrives again, so there is room.
            let _ = release.try_send(());
        }
        Ok(())
    }

    /// Waits until all channels are closed, but for no longer than `limit` from one to the next.
    ///
    /// # Errors
    /// The migration failed, or a channel came to one more SYNC.
    pub(super) fn meet_end(&self, control: &Control, limit: Duration) -> Result<(), Error> {
        for _ in 0..self.release.len() {
            let arrival = select_biased! {
                recv(control.woken()) -> _ => return Err(control.reason()),
                recv(self.arrived) -> arrival => arrival.map_err(|_| control.reason())?,
                default(limit) => return Ok(()),
            };
            if let Arrival::Sync(channel) = arrival {
                let what = "SYNC without a mark on the main channel";
                let place = self.place.clone().channel(channel);
                return Err(Error::new(Fault::Peer, what).at(place));
            }
        }
        Ok(())
    }

    fn missing(&self, waiting: &[bool], watch: &Watch<'_>) -> Error {
        let (names, hint) = (names(waiting), self.hint(watch));
        let seconds = watch.limit.as_secs_f32();
        let what = format!("no SYNC from channel {names} within {seconds} s{hint}");
        Error::new(Fault::Connection, what).at(self.place.clone())
    }

    fn gone(&self, waiting: &[bool], watch: &Watch<'_>) -> Error {
        let (names, hint) = (names(waiting), self.hint(watch));
        let what = format!(
            "the source closed the main connection before SYNC came from channel {names}{hint}"
        );
        Error::new(Fault::Connection, what).at(self.place.clone())
    }

    /// Why channels may be missing; nothing if none are.
    fn hint(&self, watch: &Watch<'_>) -> String {
        let (connected, count) = (self.places_taken(), self.release.len());
        let note = (watch.note)();
        match connected {
            0 => format!("; no channel is connected: is multifd on at the source?{note}"),
            connected if connected < count => format!(
                "; only {connected} of {count} channels are connected: \
                 is multifd-channels the same on both sides?{note}"
            ),
            _ => (watch.held)(),
        }
    }

    fn closed(&self, channel: ChannelId) -> Error {
        let what = "the source closed the connection before its next SYNC";
        Error::new(Fault::Connection, what).at(self.place.clone().channel(channel))
    }
}

impl BarrierPlace {
    /// Says that the channel is here, and waits to be released. Returns whether it was: if not,
    /// the migration is over.
    pub(super) fn arrive(&self, control: &Control) -> bool {
        if self.arrive.send(Arrival::Sync(self.channel)).is_err() {
            return false;
        }
        select_biased! {
            recv(control.woken()) -> _ => false,
            recv(self.released) -> released => released.is_ok(),
        }
    }

    /// Says that the channel's connection was closed: whoever waits for it need not.
    pub(super) fn leave(&self) {
        // A channel has one arrival outstanding at a time, so there is room.
        let _ = self.arrive.try_send(Arrival::Closed(self.channel));
    }
}

/// The channels that are waited for.
fn names(waiting: &[bool]) -> String {
    let waiting = waiting.iter().enumerate().filter(|(_, waiting)| **waiting);
    let names: Vec<_> = waiting.map(|(channel, _)| channel.to_string()).collect();
    names.join(", ")
}

/// How often to look whether the source is still there.
const LOOK: Duration = Duration::from_millis(100);
/// How long nothing may move on the channels once the source has left the main connection.
const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Side;

    #[test]
    fn what_a_source_sent_before_it_left_is_waited_for() {
        let channels = ChannelCount::new(1).unwrap();
        let barrier = Barrier::new(Place::on(Side::Destination), channels);
        let channel = barrier.take_place(channels.channel(0).unwrap()).unwrap();
        let looks = Cell::new(0);
        let moved = || {
            looks.set(looks.get() + 1);
            if looks.get() == 5 {
                channel.arrive.send(Arrival::Sync(channel.channel)).unwrap();
            }
            looks.get()
        };
        let watch = Watch {
            limit: Duration::from_secs(3600),
            moved: &moved,
            excused: &|| false,
            is_gone: &|| true,
            note: &String::new,
            held: &String::new,
            met: &|| (),
        };
        let control = Control::new();
        barrier.meet(&control, &watch).unwrap();
        assert_eq!(looks.get(), 5);
    }

    #[test]
    fn a_source_that_left_and_sends_nothing_is_gone() {
        let channels = ChannelCount::new(2).unwrap();
        let barrier = Barrier::new(Place::on(Side::Destination), channels);
        let watch = Watch {
            limit: Duration::from_secs(3600),
            moved: &|| 7,
            excused: &|| true,
            is_gone: &|| true,
            note: &String::new,
            held: &String::new,
            met: &|| (),
        };
        let control = Control::new();
        let error = barrier.meet(&control, &watch).unwrap_err();
        let want = "the source closed the main connection before SYNC came from channel 0, 1";
        assert!(error.to_string().contains(want), "{error}");
    }
}
