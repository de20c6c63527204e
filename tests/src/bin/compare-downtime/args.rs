// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is asked for.

use std::path::PathBuf;

use clap::Parser;
use migration_params::Compression;

/// Compares down times with those of two QEMUs, in one run.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Where the memory files of the QEMUs go, which are used again for each run.
    #[arg(long, default_value = "/dev/shm")]
    pub(crate) folder: PathBuf,
    /// Files that fill the memory, over and over; 15 % of it stays zero.
    #[arg(long, required = true, num_args = 1..)]
    pub(crate) fill: Vec<PathBuf>,
    /// Guest memory in MiB.
    #[arg(long, default_value_t = 1024)]
    pub(crate) memory: u64,
    /// The part of it that the guest writes to, in MiB.
    #[arg(long, default_value_t = 256)]
    pub(crate) working_set: u64,
    /// Pages that the guest writes to per millisecond: 16 are 62.5 MiB per second.
    #[arg(long, default_value_t = 16)]
    pub(crate) rate: u32,
    /// The methods to take.
    #[arg(long, value_delimiter = ',', default_value = "none,zstd,zlib")]
    pub(crate) methods: Vec<Compression>,
    /// multifd-channels.
    #[arg(long, default_value_t = 2)]
    pub(crate) channels: u8,
    /// downtime-limit in milliseconds.
    #[arg(long, default_value_t = 300)]
    pub(crate) downtime_limit: u64,
    /// Runs of each that count; one more comes before.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
}
