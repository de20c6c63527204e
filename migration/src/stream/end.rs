//! Finding the end of the device state while it arrives.
//!
//! A candidate is the end mark and the head of a VM description, `00 06 L3 L2 L1 L0 '{'`, anywhere in
//! the device state. It is checked once, when all of its L bytes of text have come. JSON has no zero
//! byte in it, so a zero byte inside of the text ends a candidate: no two texts overlap but for the
//! few bytes of a head, and the work is linear in the length of the device state however many false
//! heads it has.

use std::ops::Range;

use super::section::SectionType;
use super::tail::SectionInfo;
use super::{vmdesc, walk};

/// Looks for the end in a growing tail.
#[derive(Debug, Default)]
pub(super) struct EndFinder {
    /// Every zero byte before this place has been looked at.
    scanned: usize,
    /// Candidates whose text has not wholly come.
    live: Vec<Candidate>,
    /// The end of what has come so far, confirmed by the walk.
    found: Option<Found>,
    /// The last description that the walk does not confirm.
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
    /// Looks at what has been added to the tail since the last call.
    pub(super) fn advance(&mut self, tail: &[u8]) {
        // Whatever was the end before, more came behind it.
        self.found = None;
        if *tail == EMPTY_END {
            self.found = Some(Found {
                description: Some(tail.len()..tail.len()),
                sections: Some(Vec::new()),
            });
        }
        loop {
            let rest = tail.get(self.scanned..).unwrap_or_default();
            let zero = rest
                .iter()
                .position(|byte| *byte == 0)
                .map(|at| self.scanned + at);
            self.check_complete(tail, zero.unwrap_or(tail.len()));
            let Some(zero) = zero else {
                self.scanned = tail.len();
                return;
            };
            match head(tail.get(zero..).unwrap_or_default()) {
                Head::Partial => {
                    self.scanned = zero;
                    return;
                }
                Head::None => self.live.retain(|live| live.text.start > zero),
                Head::Text(len) => {
                    self.live.retain(|live| live.text.start > zero);
                    let start = zero + EMPTY_END.len();
                    self.live.push(Candidate {
                        mark: zero,
                        text: start..start.saturating_add(len),
                    });
                }
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
        let described = self
            .refused
            .as_ref()
            .map(|refused| refused.text.clone())
            .filter(|text| text.end == tail.len())
            .or_else(|| tail.ends_with(&EMPTY_END).then_some(tail.len()..tail.len()));
        if described.is_none() && tail.last() != Some(&SectionType::EOF.0) {
            return None;
        }
        Some(Found {
            description: described,
            sections: (*tail == [SectionType::EOF.0]).then(Vec::new),
        })
    }

    /// Why the last description that came is not the end.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.as_ref().map(|refused| {
            let (len, at) = (refused.text.len(), refused.text.start);
            let why = &refused.why;
            format!("the VM description of {len} bytes at byte {at:#x} of it does not fit: {why}")
        })
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
        let bytes = tail.get(text.clone()).unwrap_or_default();
        let Ok(devices) = vmdesc::parse(bytes) else {
            return;
        };
        match walk::walk(tail.get(..mark).unwrap_or_default(), &devices) {
            Ok(sections) if text.end == tail.len() => {
                self.found = Some(Found {
                    description: Some(text),
                    sections: Some(sections),
                });
            }
            Ok(_) => {
                let why = "more bytes follow it".to_owned();
                self.refused = Some(Refused { text, why });
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

/// The end mark and an empty description.
const EMPTY_END: [u8; 6] = [
    SectionType::EOF.0,
    SectionType::VM_DESCRIPTION.0,
    0,
    0,
    0,
    0,
];
