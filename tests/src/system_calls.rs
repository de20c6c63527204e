// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Filters of system calls, as a hypervisor puts them on its threads.

use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, bail};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// A filter that kills the process of whoever makes another call than these.
///
/// # Errors
/// A name that is not in the table here.
pub fn allowing<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<BpfProgram> {
    let rule = |name| Ok((number(name)?, Vec::new()));
    let rules = names.into_iter().map(rule).collect::<Result<_>>()?;
    let (kill, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, kill, allow, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// Has glibc do what it does once in a process: it opens `/proc/sys/vm/overcommit_memory` when it shrinks a thread's heap
/// for the first time, and `/sys/devices/system/cpu/online` for the ninth heap. No thread may do so later. A
/// hypervisor does the same at its start, or has only one heap (`M_ARENA_MAX`).
///
/// # Errors
/// There is no memory.
pub fn settle_malloc() -> Result<()> {
    const HEAPS: usize = 16;
    let together = Barrier::new(HEAPS);
    let allocate = || {
        let blocks: Vec<_> = (0..256).map(|_| vec![1_u8; 64 << 10]).collect();
        together.wait();
        drop(blocks);
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..HEAPS).map(|_| scope.spawn(allocate)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().ok());
        ended
            .collect::<Option<()>>()
            .context("memory can be allocated and freed")
    })
}

fn number(name: &str) -> Result<i64> {
    match NUMBERS.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => bail!("the system call {name:?} is not in this table"),
    }
}

const NUMBERS: &[(&str, i64)] = &[
    ("accept4", libc::SYS_accept4),
    ("brk", libc::SYS_brk),
    ("clock_gettime", libc::SYS_clock_gettime),
    ("clock_nanosleep", libc::SYS_clock_nanosleep),
    ("clone3", libc::SYS_clone3),
    ("close", libc::SYS_close),
    ("eventfd2", libc::SYS_eventfd2),
    ("exit", libc::SYS_exit),
    ("fcntl", libc::SYS_fcntl),
    ("futex", libc::SYS_futex),
    ("getrandom", libc::SYS_getrandom),
    ("getsockopt", libc::SYS_getsockopt),
    ("gettid", libc::SYS_gettid),
    ("lseek", libc::SYS_lseek),
    ("madvise", libc::SYS_madvise),
    ("mmap", libc::SYS_mmap),
    ("mprotect", libc::SYS_mprotect),
    ("munmap", libc::SYS_munmap),
    ("poll", libc::SYS_poll),
    ("ppoll", libc::SYS_ppoll),
    ("prctl", libc::SYS_prctl),
    ("pread64", libc::SYS_pread64),
    ("pwrite64", libc::SYS_pwrite64),
    ("read", libc::SYS_read),
    ("readv", libc::SYS_readv),
    ("recvfrom", libc::SYS_recvfrom),
    ("recvmsg", libc::SYS_recvmsg),
    ("rseq", libc::SYS_rseq),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    ("sched_getaffinity", libc::SYS_sched_getaffinity),
    ("sched_yield", libc::SYS_sched_yield),
    ("sendmsg", libc::SYS_sendmsg),
    ("sendto", libc::SYS_sendto),
    ("set_robust_list", libc::SYS_set_robust_list),
    ("setsockopt", libc::SYS_setsockopt),
    ("sigaltstack", libc::SYS_sigaltstack),
    ("tgkill", libc::SYS_tgkill),
    ("write", libc::SYS_write),
    ("writev", libc::SYS_writev),
];
