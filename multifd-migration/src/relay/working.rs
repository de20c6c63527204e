// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A destination that says that it works.

use std::time::{Duration, Instant};

use crate::Work;
use crate::stream::ReturnMessage;

/// The words of a destination whose host is not done with the guest: each is a sign of life, until they have come for too
/// long.
#[derive(Debug)]
pub(super) struct Working {
    limit: Duration,
    since: Option<Instant>,
    words: u64,
    last: Option<Work>,
    /// They have come for too long.
    over: bool,
}

impl Working {
    /// Counts words for so long.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            words: 0,
            last: None,
            over: false,
        }
    }

    /// Notes a message, if it is such a word.
    pub(super) fn hear(&mut self, message: ReturnMessage) {
        let ReturnMessage::Pong(value) = message else {
            return;
        };
        let Some(work) = Work::from_pong(value) else {
            return;
        };
        let since = self.since.get_or_insert_with(Instant::now);
        self.over = since.elapsed() >= self.limit;
        self.words += u64::from(!self.over);
        self.last = Some(work);
    }

    /// How many words have counted.
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// What it has said that it does.
    pub(super) fn last(&self) -> Option<Work> {
        self.last
    }

    /// What the destination has been at; `None` if it has not said so.
    pub(super) fn explain(&self) -> Option<String> {
        let work = self.last?;
        let what = match self.over {
            true => format!(
                "has been {work} for more than {} s, and has said nothing else",
                self.limit.as_secs_f32()
            ),
            false => format!("was {work} when it last spoke, and has said nothing"),
        };
        Some(format!("the destination {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_until_they_have_come_for_too_long() {
        let word = ReturnMessage::Pong(Work::WritingToDisk.pong());
        let mut patient = Working::new(Duration::MAX);
        patient.hear(ReturnMessage::Pong(1));
        assert_eq!((patient.words(), patient.explain()), (0, None));
        patient.hear(word);
        patient.hear(word);
        assert_eq!(patient.words(), 2);
        let text = patient.explain().unwrap_or_default();
        assert!(
            text.contains("was writing to disk when it last spoke"),
            "{text}"
        );
        let mut other = Working::new(Duration::ZERO);
        other.hear(word);
        assert_eq!(other.words(), 0);
        let text = other.explain().unwrap_or_default();
        assert!(
            text.contains("has been writing to disk for more than 0 s"),
            "{text}"
        );
    }
}
