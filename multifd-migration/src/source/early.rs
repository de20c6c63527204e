// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections that stand before the end of RAM and are not RAM's.

use multifd_core::Error;

use crate::stream::{EarlyPart, EarlyPlace, EarlySection};

/// What a guest's devices have sent before the end of RAM, to be sent again at the same place.
pub trait EarlySections: Send + Sync {
    /// Gives each piece of the sections of this place to `send`, in their order; an error of `send` is answered. Called
    /// once for each [place](EarlyPlace::ALL), in order, on the thread that runs the migration.
    ///
    /// # Errors
    /// They cannot be read, or sent: the migration fails, and the guest runs on.
    fn send(
        &self,
        place: EarlyPlace,
        send: &mut dyn FnMut(EarlyPart<'_>) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

/// Those that are in memory.
impl EarlySections for Vec<EarlySection> {
    fn send(
        &self,
        place: EarlyPlace,
        send: &mut dyn FnMut(EarlyPart<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for section in self.iter().filter(|section| section.place == place) {
            let head = &section.head;
            send(EarlyPart::Start { head, place })?;
            send(EarlyPart::Data(&section.data))?;
            send(EarlyPart::End)?;
        }
        Ok(())
    }
}
