// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How far a migration is: a bar on a terminal, lines otherwise.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use multifd_core::Monitor;
use multifd_migration::SourceHandle;

use crate::show::units::Bytes;
use crate::show::{live_view, output};

/// Shows on stderr what a migration has moved, until it is dropped.
pub(crate) struct Progress {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Bytes of guest memory in total; 0 until that is known.
pub(crate) type Total = Arc<AtomicU64>;

impl Progress {
    /// Shows what `monitor` counts. `label` says what happens to the bytes: sent, received.
    pub(crate) fn start(monitor: Monitor, total: &Total, label: &str) -> io::Result<Self> {
        let bytes = move || {
            let total = monitor.total();
            (total.guest_bytes, total.wire_bytes)
        };
        Self::watch(Watch {
            bytes: Box::new(bytes),
            source: None,
            total: Arc::clone(total),
            label: label.into(),
            start: Instant::now(),
        })
    }

    /// Shows how a source does: rounds, rates, each channel.
    pub(crate) fn source(handle: SourceHandle, label: &str) -> io::Result<Self> {
        let total = handle.info().ram.total;
        let bytes = {
            let handle = handle.clone();
            move || {
                let total = handle.stats().total();
                (total.guest_bytes, total.wire_bytes)
            }
        };
        Self::watch(Watch {
            bytes: Box::new(bytes),
            source: Some(handle),
            total: Arc::new(total.into()),
            label: label.into(),
            start: Instant::now(),
        })
    }

    fn watch(watch: Watch) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let body = move || {
            if io::stderr().is_terminal() {
                watch.bar(&stopped);
            } else {
                watch.lines(&stopped);
            }
        };
        let thread = thread::Builder::new().name("progress".into()).spawn(body)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already, and concerns nobody but the viewer.
            let _ = thread.join();
        }
    }
}

/// The thread's part.
struct Watch {
    /// Bytes of guest memory, and bytes on the wire.
    bytes: Box<dyn Fn() -> (u64, u64) + Send>,
    source: Option<SourceHandle>,
    total: Total,
    label: String,
    start: Instant,
}

impl Watch {
    /// A bar, which is gone at the end: the result says more.
    fn bar(&self, stopped: &mpsc::Receiver<()>) {
        let bar = ProgressBar::hidden().with_prefix(self.label.clone());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        let mut last = self.source.as_ref().map(SourceHandle::info);
        while waits(stopped, REFRESH) {
            bar.set_length(self.total.load(Ordering::Relaxed));
            if let (Some(source), Some(last)) = (&self.source, &mut last) {
                let now = source.info();
                bar.set_position(now.ram.total - now.ram.remaining.min(now.ram.total));
                bar.set_message(live_view::text(last, &now));
                *last = now;
            } else {
                let (guest, wire) = (self.bytes)();
                bar.set_position(guest);
                bar.set_message(self.rates(guest, wire));
            }
            if bar.is_hidden() {
                // Only now it has something to show.
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
        bar.finish_and_clear();
    }

    fn lines(&self, stopped: &mpsc::Receiver<()>) {
        while waits(stopped, LINE_INTERVAL) {
            let (guest, wire) = (self.bytes)();
            let (label, rates) = (&self.label, self.rates(guest, wire));
            let total = self.total.load(Ordering::Relaxed);
            let of_total = match (guest * 100).checked_div(total) {
                Some(percent) => format!(" of {} ({percent} %)", Bytes(total)),
                None => String::new(),
            };
            let guest = Bytes(guest);
            output::message(format_args!("{label} {guest}{of_total}, {rates}"));
        }
    }

    fn rates(&self, guest: u64, wire: u64) -> String {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let mbps = wire as f64 * 8.0 / 1e6 / seconds;
        let ratio = guest as f64 / wire.max(1) as f64;
        format!("{mbps:.0} mbps, ratio {ratio:.2}")
    }
}

/// Waits for a while; answers whether to go on.
fn waits(stopped: &mpsc::Receiver<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

const TEMPLATE: &str = "{prefix} [{wide_bar}] {percent} % of {total_bytes}\n{msg}";
const REFRESH: Duration = Duration::from_millis(250);
/// Lines go to logs, where they stay.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
