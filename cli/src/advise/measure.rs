// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the methods cost, one after the other, on every core at the same time.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use multifd_core::MultifdMethods;

use super::channel::Channel;
use super::cost::{Codec, PAGE, Sides};
use super::sample::Sample;
use super::spent::Spent;

/// How a method is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Threads that do so at the same time: cores that are busy are slower than one alone.
    pub(crate) threads: usize,
    /// Each one stops after so much time.
    pub(crate) time: Duration,
}

/// Compresses and decompresses the sample, or as much of it as there is time for.
pub(crate) fn measure(
    method: &dyn MultifdMethods,
    level: Option<u8>,
    sample: &Sample,
    effort: Effort,
) -> anyhow::Result<Codec> {
    ensure!(
        !sample.packets.is_empty(),
        "the memory holds nothing but zero pages: there is nothing to measure"
    );
    let threads = effort.threads.min(sample.packets.len()).max(1);
    let start = Barrier::new(threads);
    let channels: anyhow::Result<Vec<_>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let packets = sample.packets.iter().skip(number).step_by(threads);
                let start = &start;
                scope.spawn(move || {
                    let channel = Channel::new(method, sample);
                    start.wait();
                    channel?.run(packets, effort.time)
                })
            })
            .collect();
        let joined = running.into_iter().map(|thread| {
            let panicked = |panic| std::panic::resume_unwind(panic);
            thread.join().unwrap_or_else(panicked)
        });
        joined.collect()
    });
    let sum = channels?.into_iter().fold(Spent::default(), Spent::plus);
    Ok(sum.codec(method, level, threads))
}

/// A method that needs no time of its own: its pages go to the kernel as they are.
pub(crate) fn free(method: &dyn MultifdMethods) -> Codec {
    Codec {
        method: method.name().into(),
        level: None,
        implementation: method.implementation().to_string(),
        is_hardware: false,
        payload: PAGE,
        cpu: Sides::default(),
        elapsed: Sides::default(),
        channels: 1,
    }
}
