// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is known of the source beside what has been read.

use super::{Incoming, State};
use crate::stream::StreamError;
use crate::stream::ram::EOS;
use crate::stream::section::check_footer;

impl Incoming {
    /// Whether the source has gone away though it waits for an answer, if that can be known: only with a
    /// return path, without one it closes the connection behind the last byte.
    pub(crate) fn source_is_gone(&self) -> bool {
        self.return_path && self.reader.transport().has_ended()
    }

    /// Checks, at a barrier and before it is waited for, that the section around it ends as it should, as far as that
    /// has come: a source that is wrong there may never come to the barrier.
    ///
    /// # Errors
    /// Another footer than the section's.
    pub(crate) fn check_ahead(&self) -> Result<(), StreamError> {
        let (Some(ram), ahead) = (&self.ram, self.reader.available()) else {
            return Ok(());
        };
        let footer = match self.state {
            State::Words(_) => ahead.strip_prefix(&EOS.to_be_bytes()),
            State::Footer(_) => Some(ahead),
            _ => None,
        };
        let checked = match footer {
            Some([mark, a, b, c, d, ..]) => {
                let got = u32::from_be_bytes([*a, *b, *c, *d]);
                check_footer(ram.section_id, *mark, Some(got))
            }
            Some([mark, ..]) => check_footer(ram.section_id, *mark, None),
            _ => Ok(()),
        };
        let skipped = ahead.len() - footer.unwrap_or_default().len();
        let at = self.reader.offset() + skipped as u64;
        checked.map_err(|problem| self.reader.wrong(at, problem))
    }
}
