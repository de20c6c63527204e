//! The channels' threads under a seccomp filter that a hypervisor puts on them, which kills whoever
//! calls anything else.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{ChannelId, Fault, MethodOptions, MultifdMethods, Spawn, StdThreads};
use multifd_migration::{DestinationConfig, SourceConfig};
use multifd_tests::host;
use multifd_tests::live::{Guest, Outcome, Pair, Rate};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What a channel's thread may call once it is ready.
const ALLOWED: [i64; 31] = [
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_tgkill,
];
const CHANNELS: u8 = 2;

#[test]
fn every_method_migrates() -> Result<()> {
    every_method(AtEnd::Stay)
}

#[test]
fn threads_may_end() -> Result<()> {
    every_method(AtEnd::Exit)
}

fn every_method(end: AtEnd) -> Result<()> {
    for name in host::registry()?.names() {
        for who in [Accelerator::Auto, Accelerator::Software] {
            let context = || format!("{name}, {who}");
            let threads = Arc::new(Confined::new(end)?);
            let mut guest = Guest::start(4096, Rate::Pages(500))?;
            let outcome = migrate(method(name, who)?, &threads, &mut guest, false);
            arrived(&guest, &outcome.with_context(context)?).with_context(context)?;
            let ready = threads.ready.load(Ordering::Relaxed);
            ensure!(ready == 2 * usize::from(CHANNELS), "{ready} filters");
        }
    }
    Ok(())
}

#[test]
fn a_failure_is_no_crime() -> Result<()> {
    let threads = Arc::new(Confined::new(AtEnd::Stay)?);
    let mut guest = Guest::start(4096, Rate::Pages(500))?;
    let cancelled = migrate(
        method("none", Accelerator::Auto)?,
        &threads,
        &mut guest,
        true,
    )?;
    let failure = cancelled.source.err().context("it was cancelled")?;
    ensure!(failure.error.fault() == Fault::Aborted, "{failure}");
    let outcome = migrate(
        method("none", Accelerator::Auto)?,
        &threads,
        &mut guest,
        false,
    )?;
    arrived(&guest, &outcome)
}

#[test]
fn the_filter_kills() -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args(["--exact", "opens_a_file", "--ignored"])
        .status()?;
    ensure!(status.signal() == Some(libc::SIGSYS), "{status}");
    Ok(())
}

#[test]
#[ignore = "it is killed: the_filter_kills runs it"]
fn opens_a_file() -> Result<()> {
    apply_filter(&Confined::new(AtEnd::Exit)?.filter)?;
    std::fs::File::open("/dev/null")?;
    Ok(())
}

/// Threads that get the filter when they are ready.
struct Confined {
    filter: BpfProgram,
    end: AtEnd,
    ready: AtomicUsize,
}

/// What a thread does when the engine has no more work for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    /// It waits for ever, as one of a pool: just [`ALLOWED`].
    Stay,
    /// It exits. glibc blocks all signals first, which is one call more.
    Exit,
}

impl Confined {
    fn new(end: AtEnd) -> Result<Self> {
        settle_malloc()?;
        let rules = ALLOWED.iter().map(|call| (*call, Vec::new()));
        let mut rules: BTreeMap<_, _> = rules.collect();
        if end == AtEnd::Exit {
            let block = u64::try_from(libc::SIG_BLOCK)?;
            let how = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, block)?;
            rules.insert(libc::SYS_rt_sigprocmask, vec![SeccompRule::new(vec![how])?]);
        }
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::KillProcess,
            SeccompAction::Allow,
            TargetArch::x86_64,
        )?;
        Ok(Self {
            filter: filter.try_into()?,
            end,
            ready: AtomicUsize::new(0),
        })
    }
}

impl Spawn for Confined {
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let end = self.end;
        let body = move || {
            body();
            if end == AtEnd::Stay {
                loop {
                    std::thread::park();
                }
            }
        };
        StdThreads.spawn(name, Box::new(body))
    }

    fn channel_ready(&self, _: ChannelId) -> io::Result<()> {
        self.ready.fetch_add(1, Ordering::Relaxed);
        apply_filter(&self.filter).map_err(io::Error::other)
    }
}

/// Has glibc shrink a thread's heap: the first time it does so in a process it opens
/// `/proc/sys/vm/overcommit_memory`, which no thread may do later. A hypervisor does the same at its
/// start, or has only one heap (`M_ARENA_MAX`).
fn settle_malloc() -> Result<()> {
    let blocks = || drop((0..256).map(|_| vec![1_u8; 64 << 10]).collect::<Vec<_>>());
    let thread = std::thread::spawn(blocks).join();
    thread.ok().context("memory can be allocated and freed")
}

fn method(name: &str, who: Accelerator) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::default().with(Accelerator::OPTION, who);
    Ok(host::registry()?.open(name, &options)?)
}

fn migrate(
    method: Arc<dyn MultifdMethods>,
    threads: &Arc<Confined>,
    guest: &mut Guest,
    cancel: bool,
) -> Result<Outcome> {
    let mut config = SourceConfig::default();
    config.threads = Arc::clone(threads) as Arc<dyn Spawn>;
    if cancel {
        // Slow enough to be met.
        config.tuning.max_bandwidth = NonZeroU64::new(16 << 20);
    }
    let mut destination = DestinationConfig::default();
    destination.receiver.threads = Arc::clone(threads) as Arc<dyn Spawn>;
    let pair = Pair {
        config,
        method,
        channels: CHANNELS,
        return_path: true,
        ends_destination_late: false,
    };
    pair.migrate_to(destination, guest, |controls| {
        let source = controls.source;
        while cancel && source.info().ram.normal < 100 && !source.status().is_final() {
            std::thread::yield_now();
        }
        if cancel {
            source.cancel();
        }
    })
}

fn arrived(guest: &Guest, outcome: &Outcome) -> Result<()> {
    outcome.source.as_ref().map_err(Clone::clone)?;
    outcome.destination.as_ref().map_err(Clone::clone)?;
    guest.check_copy(&outcome.copy)
}
