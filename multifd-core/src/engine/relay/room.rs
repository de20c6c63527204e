// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How much device state a relay holds at a time.

use crossbeam_channel::{self as queue, select_biased};
use parking_lot::Mutex;

use crate::engine::control::Control;
use crate::error::Error;

/// Room for device state that has been received and not been sent, in units: so the memory of a relay is
/// bounded, however large the state is and however many channels bring it.
#[derive(Debug)]
pub(super) struct DeviceRoom {
    /// Whoever has it takes units. Of two that take some each, neither might get enough.
    turn: Mutex<()>,
    give: queue::Sender<()>,
    free: queue::Receiver<()>,
}

impl DeviceRoom {
    pub(super) fn new() -> Self {
        let (give, free) = queue::bounded(UNITS);
        for _ in 0..UNITS {
            // There is room for all.
            let _ = give.send(());
        }
        Self {
            turn: Mutex::new(()),
            give,
            free,
        }
    }

    /// Waits until there is room for so many bytes, and takes it. More than there can ever be get all of it.
    ///
    /// # Errors
    /// The migration is over.
    pub(super) fn take(&self, bytes: usize, control: &Control) -> Result<(), Error> {
        let _turn = self.turn.lock();
        for _ in 0..units(bytes) {
            select_biased! {
                recv(control.woken()) -> _ => return Err(control.reason()),
                recv(self.free) -> unit => unit.map_err(|_| control.reason())?,
            }
        }
        Ok(())
    }

    /// Whether all of it is taken.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Gives the room for so many bytes back.
    pub(super) fn give_back(&self, bytes: usize) {
        for _ in 0..units(bytes) {
            // There is room for all that were taken.
            let _ = self.give.try_send(());
        }
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).clamp(1, UNITS)
}

/// A VFIO device sends pieces of a MiB, with a header.
const UNIT: usize = 1 << 20;
/// 32 MiB, or one packet that is larger.
const UNITS: usize = 32;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let (room, control) = (DeviceRoom::new(), Control::new());
        room.take(UNIT * UNITS, &control).unwrap();
        assert!(room.is_full());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| room.take(1, &control));
            assert!(!waiting.is_finished());
            room.give_back(UNIT * UNITS);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(room.free.len(), UNITS - 1);
        room.give_back(1);
        // What is larger than all of it comes alone.
        room.take(UNIT * UNITS * 2, &control).unwrap();
        room.give_back(UNIT * UNITS * 2);
        assert_eq!(room.free.len(), UNITS);
    }

    #[test]
    fn several_that_want_much_all_get_it() {
        let (room, control) = (DeviceRoom::new(), Control::new());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        room.take(UNIT * 20, &control).unwrap();
                        room.give_back(UNIT * 20);
                    }
                });
            }
        });
        assert_eq!(room.free.len(), UNITS);
    }

    #[test]
    fn nobody_waits_after_the_end() {
        let (room, control) = (DeviceRoom::new(), Control::new());
        room.take(usize::MAX, &control).unwrap();
        control.fail(Error::aborted());
        room.take(1, &control).unwrap_err();
    }
}
