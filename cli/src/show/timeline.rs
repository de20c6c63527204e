// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration over time: what its plots are drawn from.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use std::io;

use multifd_core::Monitor;
use multifd_migration::SourceHandle;
use serde::{Deserialize, Serialize};

use crate::show::clock::{cpu_time, millis};

/// One side of a migration at one moment. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Sample {
    /// Since the start of the recording.
    pub(crate) at: f64,
    /// Guest memory sent or received so far, zero pages included.
    pub(crate) guest_bytes: u64,
    /// Bytes on all connections so far.
    pub(crate) wire_bytes: u64,
    /// Processor time of this process so far, of all its threads.
    pub(crate) cpu_time: f64,
    /// What only a source knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<SourceSample>,
}

/// What only a source knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SourceSample {
    pub(crate) status: String,
    /// Guest memory that is dirty.
    pub(crate) remaining: u64,
    /// Bytes that the guest made dirty per second, as of the last round.
    pub(crate) dirty_rate: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected_downtime: Option<f64>,
}

/// Records one side until it is told to stop.
pub(crate) struct Recorder {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Recorder {
    /// Records a source.
    pub(crate) fn source(handle: SourceHandle) -> io::Result<Self> {
        Self::start(move || {
            let info = handle.info();
            let source = SourceSample {
                status: info.status.name().to_owned(),
                remaining: info.ram.remaining,
                dirty_rate: info.ram.dirty_pages_rate * info.ram.page_size as f64,
                expected_downtime: info.expected_downtime,
            };
            Sample {
                guest_bytes: (info.ram.normal + info.ram.duplicate) * info.ram.page_size,
                wire_bytes: info.ram.transferred,
                source: Some(source),
                ..Sample::default()
            }
        })
    }

    /// Records a destination.
    pub(crate) fn destination(monitor: Monitor) -> io::Result<Self> {
        Self::start(move || {
            let total = monitor.total();
            Sample {
                guest_bytes: total.guest_bytes,
                wire_bytes: total.wire_bytes,
                ..Sample::default()
            }
        })
    }

    /// Stops, and answers what was recorded: the first and the last moment, and some between.
    pub(crate) fn finish(self) -> Vec<Sample> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }

    fn start(look: impl Fn() -> Sample + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (start, cpu_start) = (Instant::now(), cpu_time());
        let sample = move || Sample {
            at: millis(start.elapsed()),
            cpu_time: millis(cpu_time().saturating_sub(cpu_start)),
            ..look()
        };
        let body = move || {
            let mut samples = vec![sample()];
            let mut interval = SHORTEST_INTERVAL;
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                samples.push(sample());
                if samples.len() == MOST_SAMPLES {
                    samples = thinned(&samples);
                    interval *= 2;
                }
            }
            samples.push(sample());
            samples
        };
        let thread = thread::Builder::new().name("timeline".into());
        Ok(Self {
            stop,
            thread: thread.spawn(body)?,
        })
    }
}

/// Every second sample.
fn thinned(samples: &[Sample]) -> Vec<Sample> {
    samples.iter().step_by(2).cloned().collect()
}

/// Down times are of this order.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// A plot has no more points across.
const MOST_SAMPLES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_moment_are_there() {
        let recorder = Recorder::start(Sample::default).unwrap();
        let samples = recorder.finish();
        assert!(samples.len() >= 2);
        assert!(samples.is_sorted_by(|one, next| one.at <= next.at));
    }

    #[test]
    fn a_thinned_recording_keeps_its_start() {
        let sample = |at: u16| Sample {
            at: at.into(),
            ..Sample::default()
        };
        let samples: Vec<Sample> = (0..5).map(sample).collect();
        assert_eq!(thinned(&samples), [sample(0), sample(2), sample(4)]);
    }
}
