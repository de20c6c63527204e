// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The filter of a VMM's worker threads.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use multifd_core::{Spawn, StdThreads, ThreadKind};
use multifd_tests::system_calls::{allowing, settle_malloc};
use seccompiler::{BpfProgram, apply_filter};

/// What the threads that send and receive a guest's memory may do, and what glibc does when a thread exits.
const ALLOWED: &str = "accept4 brk clock_gettime clone3 close exit fcntl futex getrandom madvise mmap mprotect munmap poll \
    ppoll prctl pwrite64 readv read recvfrom recvmsg rseq rt_sigprocmask sched_getaffinity sched_yield sendmsg sendto \
    setsockopt sigaltstack write writev tgkill";

/// Threads that are confined when they are ready.
pub(crate) struct Confined {
    filter: BpfProgram,
    pub(crate) confined: AtomicUsize,
}

impl Confined {
    pub(crate) fn new() -> Result<Self> {
        settle_malloc()?;
        Ok(Self {
            filter: allowing(ALLOWED.split_whitespace())?,
            confined: AtomicUsize::new(0),
        })
    }
}

impl Spawn for Confined {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        StdThreads.spawn(thread, body)
    }

    fn ready(&self, thread: ThreadKind) -> io::Result<()> {
        match thread {
            ThreadKind::Send(_) | ThreadKind::Receive(_) | ThreadKind::ReturnPath => {
                self.confined.fetch_add(1, Ordering::Relaxed);
                apply_filter(&self.filter).map_err(io::Error::other)
            }
            _ => Ok(()),
        }
    }
}
