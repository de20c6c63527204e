// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is migrated, and what it took.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use migration_params::Compression;
use serde::{Deserialize, Serialize};

use super::Hosts;
use crate::arena::Arena;
use crate::certificates::Credentials;

/// What is migrated, and how.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// The memory of both sides.
    pub arena: &'a Arena,
    /// multifd-compression.
    pub method: Compression,
    /// Its level; the usual one unless it is zstd's.
    pub level: Option<u8>,
    /// Whether ours chooses for each packet how much to compress it.
    pub adapt: bool,
    /// multifd-channels.
    pub channels: u8,
    /// How often the guest has the memory, as a block each time. A QEMU has it once.
    pub blocks: usize,
    /// The two ends' hosts; it is a unix socket if there are none.
    pub hosts: Option<&'a Hosts>,
    /// The libqpl that does the work of our side; our software does it if there is none.
    pub libqpl: Option<&'a str>,
    /// The ISA-L of our software, if any.
    pub isal: Option<&'a str>,
    /// Our system calls, and nothing else of ours.
    pub bare: bool,
    /// Of both sides, if all connections are encrypted.
    pub tls: Option<&'a Credentials>,
}

impl<'a> Case<'a> {
    /// The memory with a method of its usual level, between two processes of this host.
    #[must_use]
    pub fn new(arena: &'a Arena, method: Compression, channels: u8) -> Self {
        Self {
            arena,
            method,
            level: None,
            adapt: false,
            channels,
            blocks: 1,
            hosts: None,
            libqpl: None,
            isal: None,
            bare: false,
            tls: None,
        }
    }
}

/// Whom the certificates are for.
pub const HOST: &str = "localhost";

/// What a migration took.
#[derive(Clone, Debug)]
pub struct Run {
    /// The source's total time.
    pub wall: Duration,
    /// CPU time of the source's process.
    pub send_cpu: Duration,
    /// CPU time of the destination's.
    pub recv_cpu: Duration,
    /// Bytes on all connections.
    pub bytes: u64,
    /// What ours had sent at some moments.
    pub samples: Vec<Sample>,
    /// The names of the rungs that ours has chosen, if it has, and the guest's bytes that each had.
    pub rungs: Vec<(String, u64)>,
}

/// How far a migration was at a moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Microseconds since 1970.
    pub at: u64,
    /// Bytes of pages that are not zero.
    pub guest_bytes: u64,
}

/// Microseconds since 1970.
///
/// # Errors
/// The clock is set to a time before.
pub fn micros() -> Result<u64> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(time.as_micros())?)
}

/// User and system time of this process.
///
/// # Errors
/// The system does not say.
pub fn own_cpu_time() -> Result<Duration> {
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

/// Returns the middle one of the runs' figures; no number if there are none.
pub fn median<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
