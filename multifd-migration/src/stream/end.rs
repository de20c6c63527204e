// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Finding the end of the device state while it arrives.
//!
//! A candidate is the end mark and the head of a VM description, `00 06 L3 L2 L1 L0 '{'`, anywhere in
//! the device state. It is checked once, when all of its L bytes of text have come and nothing behind
//! them. JSON has no zero byte in it, so a zero byte inside of the text ends a candidate: no two texts
//! overlap but for the few bytes of a head, and the work is linear in the length of the device state
//! however many false heads it has.

use std::ops::Range;

use super::device::SectionInfo;
use super::section::{EMPTY_TAIL, SectionType};
use super::{vmdesc, walk};

/// Looks for the end in a growing tail.
#[derive(Debug, Default)]
pub(super) struct EndFinder {
    /// How many of the devices that the description names first may have come before the tail.
    early: usize,
    /// Every zero byte before this place has been looked at.
    scanned: usize,
    /// Candidates whose text has not wholly come: two at most, one within the other's head.
    live: Vec<Candidate>,
    /// The end of what has come so far, confirmed by the walk.
    found: Option<Found>,
    /// A description at the end of what has come so far, which the walk does not confirm.
    refused: Option<Refused>,
}

/// The end of a tail.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) description: Option<Range<usize>>,
    pub(super) sections: Option<Vec<SectionInfo>>,
}

/// Most bytes of a VM description. A q35 machine has 44 KiB; each vCPU adds some 10 to 20 KiB.
pub const MAX_DESCRIPTION_LEN: usize = 128 << 20;

#[derive(Debug)]
struct Candidate {
    /// The end mark.
    mark: usize,
    text: Range<usize>,
}

#[derive(Debug)]
struct Refused {
    text: Range<usize>,
    why: String,
}

enum Head {
    /// No candidate.
    None,
    /// Too few bytes have come to tell.
    Partial,
    /// A text of this length follows.
    Text(usize),
}

impl EndFinder {
    /// Before the tail so many devices have sent all of their state.
    pub(super) fn behind(early: usize) -> Self {
        Self {
            early,
            ..Self::default()
        }
    }

    /// Looks at what has been added to the tail since the last call.
    pub(super) fn advance(&mut self, tail: &[u8]) {
        // Whatever was the end before, more came behind it.
        (self.found, self.refused) = (None, None);
        if *tail == EMPTY_TAIL {
            self.found = Some(Found {
                description: Some(tail.len()..tail.len()),
                sections: Some(Vec::new()),
            });
        }
        loop {
            let zero = self.next_zero(tail);
            self.check_complete(tail, zero.unwrap_or(tail.len()));
            let Some(zero) = zero else {
                self.scanned = tail.len();
                return;
            };
            let head = tail.get(zero..).map_or(Head::Partial, head);
            if let Head::Partial = head {
                self.scanned = zero;
                return;
            }
            self.live.retain(|live| live.text.start > zero);
            if let Head::Text(len) = head {
                let start = zero + EMPTY_TAIL.len();
                self.live.push(Candidate {
                    mark: zero,
                    text: start..start.saturating_add(len),
                });
            }
            self.scanned = zero + 1;
        }
    }

    /// The end, if it is where the tail ends now.
    pub(super) fn take_found(&mut self) -> Option<Found> {
        self.found.take()
    }

    /// The end of a tail behind which nothing can come any more. The walk need not confirm it; `None`
    /// only if the tail has no end at all.
    pub(super) fn at_end_of_stream(&mut self, tail: &[u8]) -> Option<Found> {
        if self.found.is_some() {
            return self.found.take();
        }
        let description = match &self.refused {
            Some(refused) => Some(refused.text.clone()),
            None if tail.ends_with(&EMPTY_TAIL) => Some(tail.len()..tail.len()),
            None => None,
        };
        if description.is_none() && tail.last() != Some(&SectionType::EOF.0) {
            return None;
        }
        Some(Found {
            description,
            sections: (*tail == [SectionType::EOF.0]).then(Vec::new),
        })
    }

    /// Why the description with which the tail ends now is not the end.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.as_ref().map(|refused| {
            let (len, at) = (refused.text.len(), refused.text.start);
            let why = &refused.why;
            format!("the VM description of {len} bytes at byte {at:#x} of it does not fit: {why}")
        })
    }

    /// The next zero byte that matters: while no text comes in, only one that may start a head.
    fn next_zero(&self, tail: &[u8]) -> Option<usize> {
        let rest = tail.get(self.scanned..)?;
        let at = if self.live.is_empty() {
            let whole = rest.windows(MARK.len()).position(|pair| *pair == MARK);
            whole.or_else(|| {
                rest.len()
                    .checked_sub(1)
                    .filter(|_| rest.last() == Some(&0))
            })?
        } else {
            rest.iter().position(|byte| *byte == 0)?
        };
        Some(self.scanned + at)
    }

    /// Checks the candidates whose text ends at `limit` or before it; there is no zero byte in them.
    fn check_complete(&mut self, tail: &[u8], limit: usize) {
        let (complete, live) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|candidate| candidate.text.end <= limit);
        self.live = live;
        for candidate in complete {
            self.check(tail, candidate);
        }
    }

    fn check(&mut self, tail: &[u8], candidate: Candidate) {
        let Candidate { mark, text } = candidate;
        if text.end != tail.len() {
            // More came behind it already.
            return;
        }
        let (Some(sections), Some(bytes)) = (tail.get(..mark), tail.get(text.clone())) else {
            return;
        };
        let Some(devices) = vmdesc::parse(bytes) else {
            return;
        };
        match walk::walk(sections, &devices, self.early) {
            Ok(sections) => {
                self.found = Some(Found {
                    description: Some(text),
                    sections: Some(sections),
                });
            }
            Err(why) => self.refused = Some(Refused { text, why }),
        }
    }
}

fn head(bytes: &[u8]) -> Head {
    match bytes {
        [_, mark, a, b, c, d, brace, ..] => {
            if *mark != SectionType::VM_DESCRIPTION.0 || *brace != b'{' {
                return Head::None;
            }
            match usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])) {
                Ok(len @ 1..=MAX_DESCRIPTION_LEN) => Head::Text(len),
                _ => Head::None,
            }
        }
        [_, mark, ..] if *mark != SectionType::VM_DESCRIPTION.0 => Head::None,
        _ => Head::Partial,
    }
}

/// What a head starts with: the end mark and the type of a VM description.
const MARK: [u8; 2] = [SectionType::EOF.0, SectionType::VM_DESCRIPTION.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_candidates_are_alive_at_a_time() {
        let head = b"\0\x06\0\x01\0\0{\"devices\":[";
        let mut tail = Vec::new();
        let mut finder = EndFinder::default();
        for _ in 0..1000 {
            tail.extend(head);
            finder.advance(&tail);
            assert_eq!(finder.live.len(), 1);
            assert_eq!(finder.scanned, tail.len());
        }
        // A head inside of another's length.
        tail.extend(b"\0\x06\0\x06\0\x06{\x06{");
        finder.advance(&tail);
        assert_eq!(finder.live.len(), 2);
        tail.extend([0; 7]);
        finder.advance(&tail);
        assert_eq!(finder.live.len(), 0);
    }

    #[test]
    fn a_text_has_a_limit() {
        for (len, live) in [
            (0, 0),
            (2, 1),
            (MAX_DESCRIPTION_LEN, 1),
            (MAX_DESCRIPTION_LEN + 1, 0),
        ] {
            let len = u32::try_from(len).unwrap();
            let tail = [&MARK[..], &len.to_be_bytes(), b"{"].concat();
            let mut finder = EndFinder::default();
            finder.advance(&tail);
            assert_eq!(finder.live.len(), live, "{len}");
        }
    }
}
