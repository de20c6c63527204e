// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One migration.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use migration_params::Compression;

use multifd_tests::arena::Arena;
use multifd_tests::certificates::Credentials;

/// What is migrated, and how.
pub(crate) struct Case<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) method: Compression,
    pub(crate) channels: u8,
    /// The libqpl that does the work of our side; our software does it if there is none.
    pub(crate) libqpl: Option<&'a str>,
    /// Of both sides, if all connections are encrypted.
    pub(crate) tls: Option<&'a Credentials>,
}

/// What ours is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rival<'a> {
    /// A QEMU with this method.
    Qemu(Compression),
    /// Ours, with this libqpl.
    Libqpl(&'a str),
}

/// Whom the certificates are for.
pub(crate) const HOST: &str = "localhost";

/// What a migration took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    pub(crate) send_cpu: Duration,
    pub(crate) recv_cpu: Duration,
    /// Bytes on all connections.
    pub(crate) bytes: u64,
}

/// User and system time of this process.
pub(crate) fn own_cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    // utime and stime are fields 14 and 15; the first one after the name is field 3.
    let ticks = fields
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>();
    let ticks = ticks.context("times in /proc/self/stat")?;
    // The kernel's unit there is 1/100 s on every architecture.
    Ok(Duration::from_millis(10 * ticks))
}
