// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd advise`.

use std::path::PathBuf;

use migration_params::DowntimeLimit;

use super::AcceleratorArgs;
use crate::show::units::MemorySize;
use crate::show::units::Rate;

/// Say which method, which level and how many channels to take, and why
///
/// The methods are tried on a sample of the memory, all cores at once, and the engine between two
/// processes of this host. From that and from what is given here it predicts total time, down time
/// and processor time of each method, and says what to set.
#[derive(Debug, clap::Args)]
pub(crate) struct AdviseArgs {
    /// Rates that the link carries, separated by commas: 10Gbit, or bytes per second like 800M
    ///
    /// TCP carries about 94 % of what a link is named for. 0 is a link that is never the limit.
    #[arg(
        long,
        value_name = "RATES",
        value_delimiter = ',',
        required_unless_present = "check"
    )]
    pub(crate) bandwidth: Vec<Rate>,
    /// How fast the guest writes to its pages, in bytes of pages per second
    ///
    /// QEMU's calc-dirty-rate measures it.
    #[arg(long, value_name = "RATE", default_value = "0")]
    pub(crate) dirty_rate: Rate,
    /// The guest's memory, with K, M, G or T [default: the length of --ram, or 1G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<MemorySize>,
    /// A file with the guest's memory, to take the sample from
    #[arg(long, value_name = "FILE", conflicts_with = "fill")]
    pub(crate) ram: Option<PathBuf>,
    /// Files and folders whose content fills the memory, as in demo [default: the system's in /usr]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) fill: Vec<PathBuf>,
    /// How much of the memory to try the methods on
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub(crate) sample: MemorySize,
    /// Cores that the source may use [default: this host's]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) cores: Option<u16>,
    /// Cores that the destination may use [default: as many as the source]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) destination_cores: Option<u16>,
    /// Source and destination are one host and have the same cores
    #[arg(long)]
    pub(crate) shared_cores: bool,
    /// The most channels to take
    #[arg(long, value_name = "NUMBER", default_value = "16",
          value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: u8,
    /// The methods to take, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) methods: Vec<String>,
    /// Levels, separated by commas; each method takes those that it has [default: 1,3,6]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) levels: Vec<u8>,
    /// How long the guest may stand still, in milliseconds
    #[arg(long, value_name = "MS", default_value = "300")]
    pub(crate) downtime_limit: DowntimeLimit,
    /// QAT devices that both sides have [default: those that are usable here]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) qat: Option<u16>,
    /// IAA devices that both sides have [default: those that are usable here]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) iaa: Option<u16>,
    /// Whether devices can share a process's addresses [default: as found here]
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pub(crate) shared_memory: Option<bool>,
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArgs,
    /// Migrate as bench does at three bandwidths, and compare with what is predicted
    ///
    /// With --json it prints all that went into the predictions and what was measured. On a host
    /// where something else is running the difference is the other's.
    #[arg(long, conflicts_with_all = ["bandwidth", "ram", "dirty_rate"])]
    pub(crate) check: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("wanted yes or no".into()),
    }
}
