// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Limits and kinds of memory.

use super::finding::{Finding, Problem};
use super::host::Host;

/// What the host's memory lets a process do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    total: u64,
    available: u64,
    /// How much this process may lock; `None` is without a limit.
    lockable: Option<u64>,
    huge: Vec<HugePages>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HugePages {
    bytes: u64,
    reserved: u64,
    free: u64,
}

impl Memory {
    pub(crate) fn of(host: &Host) -> Self {
        let meminfo = host.read("proc/meminfo").unwrap_or_default();
        let field = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0)
                << 10
        };
        let limits = host.read("proc/self/limits").unwrap_or_default();
        let lockable = lockable(&limits).filter(|_| !host.user().may_lock_memory());
        Self {
            total: field("MemTotal:"),
            available: field("MemAvailable:"),
            lockable,
            huge: huge_pages(host),
        }
    }

    /// Whether qatlib can lock what it needs for `devices` devices.
    pub(crate) fn enough_lockable(&self, devices: usize) -> Result<(), Problem> {
        let need = (PER_DEVICE * devices as u64 + MARGIN).next_multiple_of(MIB);
        match self.lockable {
            Some(limit) if limit < need => Err(Problem::new(
                format!(
                    "{} MiB of memory may be locked, {devices} QAT devices need {} MiB",
                    limit / MIB,
                    need / MIB
                ),
                format!(
                    "add \"USER - memlock {}\" to /etc/security/limits.conf, log in again",
                    need >> 10
                ),
            )),
            _ => Ok(()),
        }
    }

    /// `devices`: how many devices memory must be locked for.
    pub(crate) fn findings(&self, devices: usize) -> Vec<Finding> {
        let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
        let (total, available) = (gib(self.total), gib(self.available));
        let what = format!("{total:.1} GiB, {available:.1} GiB available");
        let lockable = match (self.lockable, self.enough_lockable(devices)) {
            (_, Err(problem)) if devices > 0 => Finding::unusable(LOCKED, &problem),
            (None, _) => Finding::ok(LOCKED, "without a limit"),
            (Some(limit), _) => Finding::ok(LOCKED, format!("up to {} MiB", limit / MIB)),
        };
        vec![Finding::ok("memory", what), lockable, self.huge_pages()]
    }

    fn huge_pages(&self) -> Finding {
        let sizes = self.huge.iter().map(|pages| {
            let size = match pages.bytes / MIB {
                mib @ 0..1024 => format!("{mib} MiB"),
                mib => format!("{} GiB", mib / 1024),
            };
            format!("{} of {size} ({} free)", pages.reserved, pages.free)
        });
        let what = sizes.collect::<Vec<_>>().join(", ");
        if self.huge.iter().any(|pages| pages.reserved > 0) {
            return Finding::ok(HUGE, what);
        }
        let what = "none reserved: guests in them migrate with fewer page faults";
        Finding::missing(HUGE, what)
            .advice("sysctl vm.nr_hugepages=NUMBER, before the guest starts")
    }
}

/// The soft limit; `None` if there is none.
fn lockable(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    line?.split_whitespace().next()?.parse().ok()
}

fn huge_pages(host: &Host) -> Vec<HugePages> {
    let size = |name: String| {
        let kib: u64 = name
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let number = |what: &str| host.number(&format!("{HUGE_FOLDER}/{name}/{what}"));
        Some(HugePages {
            bytes: kib << 10,
            reserved: number("nr_hugepages")?,
            free: number("free_hugepages")?,
        })
    };
    let mut all: Vec<_> = host
        .names(HUGE_FOLDER)
        .into_iter()
        .filter_map(size)
        .collect();
    all.sort_by_key(|pages| pages.bytes);
    all
}

const HUGE_FOLDER: &str = "sys/kernel/mm/hugepages";
const LOCKED: &str = "locked memory";
const HUGE: &str = "huge pages";
const MIB: u64 = 1 << 20;
/// Per virtual function, as qatlib's manual has it. A process gets one of each device.
const PER_DEVICE: u64 = 16 * MIB;
/// For the buffers of the sessions: QEMU's manual has 16 to 20 MiB for eight channels.
const MARGIN: u64 = 20 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         8388608              unlimited            bytes\n";
        assert_eq!(lockable(limits), Some(8 << 20));
        assert_eq!(
            lockable("Max locked memory  unlimited  unlimited  bytes"),
            None
        );
        let memory = |lockable| Memory {
            total: 0,
            available: 0,
            lockable,
            huge: vec![],
        };
        assert!(memory(None).enough_lockable(100).is_ok());
        assert!(memory(Some(52 << 20)).enough_lockable(2).is_ok());
        let problem = memory(Some(51 << 20)).enough_lockable(2).unwrap_err();
        assert!(
            problem.what.contains("2 QAT devices need 52 MiB"),
            "{problem:?}"
        );
        assert!(problem.advice.contains("memlock 53248"), "{problem:?}");
    }
}
