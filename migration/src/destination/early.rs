//! Sections that are not RAM's and come before its end, until they are whole.

use multifd_core::{Error, Fault};

use crate::stream::{EarlySection, MAX_TAIL_LEN, SectionHead};

/// Gathers the section that is being read. All of them together have a limit, that of a tail.
#[derive(Debug, Default)]
pub(super) struct EarlyKeeper {
    section: Option<EarlySection>,
    bytes: usize,
}

impl EarlyKeeper {
    pub(super) fn begin(&mut self, head: SectionHead, is_ram_announced: bool) {
        self.section = Some(EarlySection {
            head,
            data: Vec::new(),
            before_ram: !is_ram_announced,
        });
    }

    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > MAX_TAIL_LEN {
            let what = format!(
                "more than {MAX_TAIL_LEN} bytes of device state before the end of RAM, which this side would have to \
                 keep: pass the guest on with a relay, or migrate without the device"
            );
            return Err(Error::new(Fault::Peer, what));
        }
        if let Some(section) = &mut self.section {
            section.data.extend_from_slice(data);
        }
        Ok(())
    }

    pub(super) fn end(&mut self) -> Option<EarlySection> {
        self.section.take()
    }
}
