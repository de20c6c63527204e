// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections around RAM's, on their way.

use multifd_core::Error;

use super::Source;
use crate::stream::EarlyPlace;

impl Source {
    /// Sends the sections of a place, at that place.
    pub(super) fn send_early(&mut self, place: EarlyPlace) -> Result<(), Error> {
        let Some(sections) = self.config.early_sections.clone() else {
            return Ok(());
        };
        let stream = &mut self.stream;
        sections.send(place, &mut |part| Ok(stream.early_section(part)?))?;
        Ok(stream.flush()?)
    }
}
