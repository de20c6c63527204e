//! The lists of system calls in the documentation of `multifd-migration`, and filters made of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

const PAGE: &str = include_str!("../../../multifd-migration/src/system_calls.md");

/// What is allowed to each of these rows, together.
pub(crate) fn filter(rows: &[&str]) -> Result<BpfProgram> {
    let mut rules = BTreeMap::new();
    for row in rows {
        for call in calls(row)? {
            rules.insert(number(call)?, Vec::new());
        }
    }
    let (kill, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, kill, allow, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// The system calls in the row that begins so.
fn calls(row: &str) -> Result<Vec<&'static str>> {
    let beginning = format!("| {row} | ");
    let line = PAGE.lines().find_map(|line| line.strip_prefix(&beginning));
    let line = line.with_context(|| format!("no row {row:?} in the documentation"))?;
    // Behind each odd one of the backticks is a name.
    Ok(line.split('`').skip(1).step_by(2).collect())
}

fn number(name: &str) -> Result<i64> {
    let known = [
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
        ("prctl", libc::SYS_prctl),
        ("pread64", libc::SYS_pread64),
        ("read", libc::SYS_read),
        ("recvmsg", libc::SYS_recvmsg),
        ("rseq", libc::SYS_rseq),
        ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
        ("sched_getaffinity", libc::SYS_sched_getaffinity),
        ("sched_yield", libc::SYS_sched_yield),
        ("sendmsg", libc::SYS_sendmsg),
        ("set_robust_list", libc::SYS_set_robust_list),
        ("setsockopt", libc::SYS_setsockopt),
        ("sigaltstack", libc::SYS_sigaltstack),
        ("write", libc::SYS_write),
    ];
    let found = known.iter().find(|(known, _)| *known == name);
    match found {
        Some((_, number)) => Ok(*number),
        None => bail!("{name:?} is in the documentation, and not in this table"),
    }
}

/// What each thread may do.
pub(crate) const EACH: &[&str] = &[
    "each of them",
    // Of the standard library's checks.
    #[cfg(debug_assertions)]
    "each, in a build with debug assertions",
];
/// What a thread does when it ends.
pub(crate) const END: &str = "each that ends";
/// What it takes to start a thread of the standard library, and what that does first.
pub(crate) const START: &[&str] = &["the one that starts another", "the one that begins"];
