// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Something to be measured, and what a round of it took.

use std::time::Duration;

use anyhow::Result;
use multifd_tests::conformance::Guest;
use rustix::time::{ClockId, clock_gettime};

/// What is compressed, as bytes and as a guest's memory.
pub(crate) struct Memory {
    pub(crate) content: Vec<u8>,
    pub(crate) source: Guest,
    pub(crate) target: Guest,
    pub(crate) offsets: Vec<u64>,
}

/// Something that compresses and decompresses.
pub(crate) trait Codec {
    /// All of the memory there and back.
    fn run(&mut self, memory: &Memory) -> Result<Sample>;
}

/// What one round took, and made.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) compress: Duration,
    pub(crate) decompress: Duration,
    pub(crate) bytes: usize,
}

impl Sample {
    pub(crate) const ZERO: Self = Self {
        compress: Duration::ZERO,
        decompress: Duration::ZERO,
        bytes: 0,
    };
}

/// A codec, with its best times so far.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) codec: Box<dyn Codec>,
    pub(crate) best: Option<Sample>,
}

impl Subject {
    pub(crate) fn new(name: String, codec: impl Codec + 'static) -> Self {
        Self {
            name,
            codec: Box::new(codec),
            best: None,
        }
    }

    pub(crate) fn measure(&mut self, memory: &Memory) -> Result<()> {
        let sample = self.codec.run(memory)?;
        let best = self.best.get_or_insert(sample);
        best.compress = best.compress.min(sample.compress);
        best.decompress = best.decompress.min(sample.decompress);
        Ok(())
    }
}

/// Runs `work` and answers what it did, and the time that the processor spent on it on this thread: what
/// others do on the machine matters less.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let start = now();
    let done = work();
    (done, now().saturating_sub(start))
}
