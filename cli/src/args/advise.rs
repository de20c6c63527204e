// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd advise`.

use std::path::PathBuf;

use migration_params::DowntimeLimit;

use super::AcceleratorArgs;
use super::help::{self, COMPRESSION, GUEST, MIGRATION, OUTPUT};
use crate::show::exit_code::ExitCode;
use crate::show::units::MemorySize;
use crate::show::units::Rate;

/// Recommend a method, a level and a number of channels, and say why
///
/// It tries the methods on a sample of the memory, on all cores at once, and the engine between two
/// processes on this host. From that and from the options it predicts the total time, downtime and
/// processor time of each method, and tells what to set.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::LOOKS, &[ExitCode::Device, ExitCode::Interrupted]]))]
pub(crate) struct AdviseArgs {
    /// The guest's memory, with K, M, G or T [default: the length of --ram, or 1G]
    #[arg(long, value_name = "SIZE", help_heading = GUEST)]
    pub(crate) memory: Option<MemorySize>,
    /// A file with the guest's memory, to take the sample from
    #[arg(long, value_name = "FILE", conflicts_with = "fill", help_heading = GUEST)]
    pub(crate) ram: Option<PathBuf>,
    /// Files and folders to fill the memory with, as for demo [default: the system's in /usr]
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = GUEST)]
    pub(crate) fill: Vec<PathBuf>,
    /// How much of the memory to try the methods on
    #[arg(long, value_name = "SIZE", default_value = "256M", help_heading = GUEST)]
    pub(crate) sample: MemorySize,
    /// How fast the guest dirties memory, in bytes per second
    ///
    /// QEMU's calc-dirty-rate measures it.
    #[arg(long, value_name = "RATE", default_value = "0", help_heading = GUEST)]
    pub(crate) dirty_rate: Rate,
    /// The longest downtime that the guest can take, in milliseconds
    #[arg(long, value_name = "MS", default_value = "300", help_heading = GUEST)]
    pub(crate) downtime_limit: DowntimeLimit,
    /// Bandwidths of the link, separated by commas: 10Gbit, or bytes per second such as 800M
    ///
    /// TCP carries about 94 % of a link's nominal bandwidth. 0 is a link that is never the limit.
    #[arg(
        long,
        value_name = "RATES",
        value_delimiter = ',',
        required_unless_present = "check",
        help_heading = HOSTS
    )]
    pub(crate) bandwidth: Vec<Rate>,
    /// Cores that the source may use [default: this host's]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..), help_heading = HOSTS)]
    pub(crate) cores: Option<u16>,
    /// Cores that the destination may use [default: as many as the source]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..), help_heading = HOSTS)]
    pub(crate) destination_cores: Option<u16>,
    /// Source and destination are on one host and share its cores
    #[arg(long, help_heading = HOSTS)]
    pub(crate) shared_cores: bool,
    /// QAT devices that both sides have [default: those that are usable here]
    #[arg(long, value_name = "NUMBER", help_heading = HOSTS)]
    pub(crate) qat: Option<u16>,
    /// IAA devices that both sides have [default: those that are usable here]
    #[arg(long, value_name = "NUMBER", help_heading = HOSTS)]
    pub(crate) iaa: Option<u16>,
    /// Whether devices can share a process's address space [default: as found here]
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no, help_heading = HOSTS)]
    pub(crate) shared_memory: Option<bool>,
    /// Maximum number of channels
    #[arg(long, value_name = "NUMBER", default_value = "16",
          value_parser = clap::value_parser!(u8).range(1..), help_heading = MIGRATION)]
    pub(crate) channels: u8,
    /// The methods to choose from, separated by commas [default: all]
    #[arg(long, visible_alias = "compression", value_name = "NAMES", value_delimiter = ',', help_heading = MIGRATION)]
    pub(crate) methods: Vec<String>,
    /// Levels, separated by commas; each method skips those that it lacks [default: 1,3,6]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', help_heading = MIGRATION)]
    pub(crate) levels: Vec<u8>,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) accelerator: AcceleratorArgs,
    /// Migrate as bench does at three bandwidths, and compare the results with the predictions
    ///
    /// With --json it prints everything that went into the predictions, and what was measured. On a
    /// busy host the difference is the other load's.
    #[arg(long, conflicts_with_all = ["bandwidth", "ram", "dirty_rate"], help_heading = OUTPUT)]
    pub(crate) check: bool,
    /// Print the result as a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

const HOSTS: &str = "Hosts and link";
const EXAMPLES: &str = "\
Examples:
  A guest of 64 GiB over 10 Gbit/s:
    multifd advise --bandwidth 10Gbit \\
      --memory 64G --dirty-rate 200M
  With a sample of its memory:
    multifd advise --bandwidth 1Gbit \\
      --ram guest.ram --cores 4";

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("wanted yes or no".into()),
    }
}
