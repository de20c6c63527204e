// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the channels' threads run, and how much they are in the way of others.

use std::io;

use multifd_core::{Spawn, ThreadKind};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::args::{AdaptArgs, Cpus};

/// Threads that another starts, of which the channels' are put where they belong.
#[derive(Clone, Debug)]
pub(crate) struct ChannelThreads<S> {
    starts: S,
    cpus: Option<Cpus>,
    nice: Option<i32>,
}

impl<S: Spawn> ChannelThreads<S> {
    pub(crate) fn new(args: &AdaptArgs, starts: S) -> Self {
        Self {
            starts,
            cpus: args.cpus.clone(),
            nice: args.nice,
        }
    }
}

impl<S: Spawn> Spawn for ChannelThreads<S> {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.starts.spawn(thread, body)
    }

    fn ready(&self, thread: ThreadKind) -> io::Result<()> {
        if !matches!(thread, ThreadKind::Send(_) | ThreadKind::Forward(_)) {
            return Ok(());
        }
        if let Some(Cpus(cpus)) = &self.cpus {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(*cpu));
            sched_setaffinity(None, &set).map_err(|error| named("--cpus", error.into()))?;
        }
        if let Some(nice) = self.nice {
            // Of Linux' threads each has a niceness of its own.
            setpriority_process(None, nice).map_err(|error| named("--nice", error.into()))?;
        }
        Ok(())
    }
}

fn named(option: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{option}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use multifd_core::{ChannelCount, StdThreads};
    use rustix::process::getpriority_process;
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn only_the_channels_thread_is_put_elsewhere() {
        let before = getpriority_process(None).unwrap();
        let allowed = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU)
            .find(|cpu| allowed.is_set(*cpu))
            .unwrap();
        let threads = ChannelThreads {
            starts: StdThreads,
            cpus: Some(Cpus(vec![first])),
            nice: Some((before + 1).min(19)),
        };
        let channel = ChannelCount::default().channel(0).unwrap();
        let there = thread::spawn(move || {
            threads.ready(ThreadKind::Send(channel)).unwrap();
            (
                sched_getaffinity(None).unwrap(),
                getpriority_process(None).unwrap(),
            )
        });
        let (cpus, nice) = there.join().unwrap();
        assert_eq!((cpus.count(), nice), (1, (before + 1).min(19)));
        assert!(cpus.is_set(first));
        assert_eq!(getpriority_process(None).unwrap(), before);
        assert_eq!(sched_getaffinity(None).unwrap().count(), allowed.count());
    }
}
