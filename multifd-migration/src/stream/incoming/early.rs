// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections that are not RAM's.

use super::super::early::{Body, EarlyPlace, Piece, SectionHead, SectionKind, begins_twice};
use super::super::section::{SectionHeader, SectionType};
use super::super::{Event, StreamError};
use super::{Incoming, State};

impl Incoming {
    /// How many devices have sent [all of their state](SectionKind::Full) before the end of RAM: a VM description names
    /// them before those of the [tail](super::Tail).
    pub fn early_full_sections(&self) -> usize {
        self.open.full()
    }

    /// Where a section that is not RAM's stands if it [begins](Event::EarlyStart) now, or has begun just now.
    pub fn early_place(&self) -> EarlyPlace {
        self.place
    }

    /// A section that is not RAM's begins.
    pub(super) fn early_start(
        &mut self,
        kind: SectionType,
        header: SectionHeader,
        at: u64,
    ) -> Result<Event, StreamError> {
        let kind = match kind {
            SectionType::START => SectionKind::Start,
            _ => SectionKind::Full,
        };
        if self.is_ram(header.id) {
            return Err(self.reader.wrong(at, begins_twice()));
        }
        let head = self
            .open
            .begin(kind, header)
            .map_err(|problem| self.reader.wrong(at, problem))?;
        Ok(self.enter(head, at))
    }

    pub(super) fn enter(&mut self, head: SectionHead, at: u64) -> Event {
        self.state = State::Early(Box::new(Body::new(head.clone(), at)));
        Event::EarlyStart(head)
    }

    /// Reads on in a section that is not RAM's.
    pub(super) fn early(&mut self) -> Result<Event, StreamError> {
        let State::Early(body) = &mut self.state else {
            return Err(self.misuse("a device's state", "was asked for out of turn"));
        };
        let (ram, open) = (&self.ram, &self.open);
        let is_open =
            |id| ram.as_ref().is_some_and(|ram| ram.section_id == id) || open.contains(id);
        match body.read(&mut self.reader, &is_open)? {
            Piece::Data(data) => Ok(Event::EarlyData(data)),
            Piece::End => {
                self.state = State::Between;
                Ok(Event::EarlyEnd)
            }
        }
    }
}
