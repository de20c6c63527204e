// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A session of the library on a thread of its own.
//!
//! The library has no limit for a device that does nothing: its calls then never return, and nothing ends
//! them. So they are made on a second thread, which the channel's thread waits for only so long. A worker that
//! is silent for longer is left alone with its session and its memory, and nobody waits for it any more.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use multifd_core::method::Fallback;
use multifd_core::{ChannelSetup, ThreadKind};
use qatzip_sys::{Buffer, Config, Library, Session};

use crate::attempt::{Made, Trouble, Work, attempt};
use crate::trial;

/// How a worker's session is made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) library: Library,
    pub(crate) config: Config,
    /// What it will do: as large a packet as there is.
    pub(crate) work: Work,
    /// Bytes of its two buffers.
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// Whether a device that is busy is waited for.
    pub(crate) is_patient: bool,
}

/// A session on its thread, as the channel's thread sees it.
///
/// Both may read the input at the same time. Whoever writes to it is alone with it, and the output is where the
/// session is.
#[derive(Debug)]
pub(crate) struct Worker {
    /// `None` once it is not to be used any more.
    jobs: Option<SyncSender<Job>>,
    reports: Receiver<Report>,
    input: Arc<Buffer>,
    output: Option<Buffer>,
    /// How long a call may take.
    limit: Duration,
    /// Whether the thread has not answered in time: it may never do.
    is_silent: bool,
}

#[derive(Debug)]
struct Job {
    work: Work,
    input: Arc<Buffer>,
    len: usize,
    output: Buffer,
}

#[derive(Debug)]
struct Report {
    output: Buffer,
    result: Result<Made, Trouble>,
}

impl Worker {
    /// Starts the thread by the host's means, and waits until its session works.
    ///
    /// # Errors
    /// There is no session, no memory or no thread.
    pub(crate) fn start(
        setup: &ChannelSetup,
        name: &'static str,
        plan: Plan,
    ) -> Result<Self, Trouble> {
        // One job at a time, so neither queue is ever waited for by the one who fills it.
        let (jobs, todo) = sync_channel(1);
        let (done, reports) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        let limit = setup.accelerator_limit;
        let patience = if plan.is_patient {
            limit / 2
        } else {
            Duration::ZERO
        };
        let channel = setup.channel;
        let thread = ThreadKind::Method { name, channel };
        let threads = Arc::clone(&setup.threads);
        let body = move || match begin(&plan) {
            Ok((session, input, output)) => {
                if let Err(error) = threads.ready(thread) {
                    let trouble =
                        Trouble::no_device(format!("the host refused its thread: {error}"));
                    let _ = ready.send(Err(trouble));
                    return;
                }
                let _ = ready.send(Ok((input, output)));
                drop(ready);
                work(session, &todo, &done, patience);
            }
            Err(trouble) => {
                let _ = ready.send(Err(trouble));
            }
        };
        setup
            .threads
            .spawn(thread, Box::new(body))
            .map_err(|error| Trouble::no_device(format!("no thread for it: {error}")))?;
        let (input, output) = match started.recv_timeout(limit) {
            Ok(result) => result?,
            Err(RecvTimeoutError::Timeout) => return Err(silent(limit)),
            Err(RecvTimeoutError::Disconnected) => return Err(Trouble::lost(PANICKED)),
        };
        Ok(Self {
            jobs: Some(jobs),
            reports,
            input: Arc::new(input),
            output: Some(output),
            limit,
            is_silent: false,
        })
    }

    /// Where its input goes; `None` if it is not to be used any more.
    pub(crate) fn input_mut(&mut self) -> Option<&mut [u8]> {
        self.jobs.as_ref()?;
        Some(&mut **Arc::get_mut(&mut self.input)?)
    }

    /// What it was given. That can be read, whatever became of it.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// What it made.
    pub(crate) fn output(&self) -> &[u8] {
        self.output.as_deref().unwrap_or_default()
    }

    /// Has it work on the first `len` bytes of its input.
    ///
    /// # Errors
    /// Why it did not. Once the trouble is that it is lost, there is no use in asking again.
    pub(crate) fn run(&mut self, work: Work, len: usize) -> Result<Made, Trouble> {
        let (Some(jobs), Some(output)) = (&self.jobs, self.output.take()) else {
            return Err(Trouble::no_device("it was lost before"));
        };
        let job = Job {
            work,
            input: Arc::clone(&self.input),
            len,
            output,
        };
        let result = match jobs.send(job) {
            Ok(()) => self.wait(),
            Err(_) => Err(Trouble::lost(PANICKED)),
        };
        if result.as_ref().is_err_and(|trouble| trouble.is_lost) {
            self.jobs = None;
        }
        result
    }

    fn wait(&mut self) -> Result<Made, Trouble> {
        match self.reports.recv_timeout(self.limit) {
            Ok(report) => {
                self.output = Some(report.output);
                report.result
            }
            Err(RecvTimeoutError::Timeout) => {
                self.is_silent = true;
                Err(silent(self.limit))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Trouble::lost(PANICKED)),
        }
    }
}

impl Drop for Worker {
    /// Lets the thread take its session down, so that a process does not end in the middle of it. A thread that
    /// is silent is not waited for, and one that becomes so no longer than the limit.
    fn drop(&mut self) {
        self.jobs = None;
        if !self.is_silent {
            // It says nothing more: it closes its end when the session is gone.
            let _ = self.reports.recv_timeout(self.limit);
        }
    }
}

/// Makes the session, then its memory, and tries them.
fn begin(plan: &Plan) -> Result<(Session, Buffer, Buffer), Trouble> {
    let mut session = plan.library.session(plan.config)?;
    let has_device = !plan.config.software_backup;
    let buffer = |len| {
        let buffer = match has_device || session.has_device() {
            true => plan.library.buffer(len),
            false => plan.library.buffer_for_software(len),
        };
        buffer.ok_or_else(trial::no_memory)
    };
    let (mut input, mut output) = (buffer(plan.input)?, buffer(plan.output)?);
    if has_device {
        trial::warm_up(&mut session, plan.work, &mut input, &mut output)?;
    }
    Ok((session, input, output))
}

/// Does jobs until there are no more, and takes the session down before it lets go of `done`.
fn work(mut session: Session, jobs: &Receiver<Job>, done: &SyncSender<Report>, patience: Duration) {
    while let Ok(mut job) = jobs.recv() {
        let start = Instant::now();
        let result = loop {
            let output = &mut job.output;
            match attempt(&mut session, job.work, &job.input, job.len, output) {
                Err(trouble) if trouble.reason == Fallback::Busy && start.elapsed() < patience => {
                    thread::sleep(PAUSE);
                }
                result => break result,
            }
        };
        let Job { input, output, .. } = job;
        // First, so that the channel's thread is alone with it when it hears of this.
        drop(input);
        if done.send(Report { output, result }).is_err() {
            break;
        }
    }
}

fn silent(limit: Duration) -> Trouble {
    Trouble::no_device(format!(
        "the QAT device has been silent for {} s, and is left alone",
        limit.as_secs_f32()
    ))
}

const PANICKED: &str = "its thread has panicked";

/// Between two attempts to get an instance of a device that has to do the packet.
const PAUSE: Duration = Duration::from_millis(1);
