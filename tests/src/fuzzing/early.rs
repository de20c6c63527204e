// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections before the end of RAM that are not RAM's.

#[cfg(feature = "command")]
use multifd_migration::EarlySections;
#[cfg(feature = "command")]
use multifd_migration::stream::EarlyPlace;
use multifd_migration::stream::{EarlyPart, EarlySection};

/// Puts the pieces of sections together.
#[derive(Default)]
pub(super) struct Taken {
    sections: Vec<EarlySection>,
    /// One has begun.
    is_open: bool,
}

impl Taken {
    /// Takes the next piece, which must be in order.
    pub(super) fn take(&mut self, part: EarlyPart<'_>) {
        assert!(self.is_open != matches!(part, EarlyPart::Start { .. }));
        self.is_open = !matches!(part, EarlyPart::End);
        match part {
            EarlyPart::Start { head, place } => {
                let last = self.sections.last().map(|section| section.place);
                assert!(last <= Some(place), "{place:?} behind {last:?}");
                self.sections.push(EarlySection {
                    head: head.clone(),
                    data: Vec::new(),
                    place,
                });
            }
            EarlyPart::Data(data) => {
                if let Some(last) = self.sections.last_mut() {
                    last.data.extend_from_slice(data);
                }
            }
            EarlyPart::End => {}
        }
    }

    /// What a source would send.
    #[cfg(feature = "command")]
    pub(super) fn of(sections: Option<&dyn EarlySections>) -> Vec<EarlySection> {
        let mut taken = Self::default();
        for place in EarlyPlace::ALL {
            let mut take = |part: EarlyPart<'_>| {
                taken.take(part);
                Ok(())
            };
            let sent = sections.map(|sections| sections.send(place, &mut take));
            assert!(sent.is_none_or(|sent| sent.is_ok()), "cannot be read");
        }
        taken.sections
    }

    /// All that have ended.
    #[cfg(feature = "command")]
    pub(super) fn sections(&self) -> &[EarlySection] {
        &self.sections
    }
}
