// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a source chooses what it spends on compression, and on which processors.

use std::fmt;
use std::str::FromStr;

use multifd_core::AdaptConfig;
use rustix::thread::CpuSet;

/// Options of whoever sends.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct AdaptArgs {
    /// Choose for each packet how much to compress it: as fast as the link or the processors allow
    ///
    /// The method's level does not count then. The destination need not know: all is the same format.
    #[arg(long)]
    pub(crate) adapt: bool,
    /// The highest level that --adapt may take
    #[arg(long, value_name = "LEVEL", default_value = "9", requires = "adapt")]
    pub(crate) adapt_max_level: u8,
    /// Most processor time that --adapt may take over all channels, in percent of one processor: 150 is one and a half
    ///
    /// It is not the channels that are held back, but what they spend on compression.
    #[arg(long, value_name = "PERCENT", requires = "adapt",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpu_limit: Option<u32>,
    /// The processors that the channels' threads may run on, as 2-5,8
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<Cpus>,
    /// How nice the channels' threads are to others: 19 is the nicest
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub(crate) nice: Option<i32>,
}

impl AdaptArgs {
    /// How far a source may go, if it is to choose.
    pub(crate) fn config(&self) -> Option<AdaptConfig> {
        self.adapt.then(|| {
            let mut config = AdaptConfig::default();
            config.max_level = self.adapt_max_level;
            config.cpu_limit = self.cpu_limit;
            config
        })
    }

    /// The same as arguments for a process that this one starts, which chooses compression if it `adapts`.
    pub(crate) fn arguments(&self, adapts: bool) -> Vec<String> {
        let mut arguments = Vec::new();
        if adapts {
            arguments.push("--adapt".into());
            arguments.push(format!("--adapt-max-level={}", self.adapt_max_level));
            arguments.extend(self.cpu_limit.map(|limit| format!("--cpu-limit={limit}")));
        }
        arguments.extend(self.cpus.as_ref().map(|cpus| format!("--cpus={cpus}")));
        arguments.extend(self.nice.map(|nice| format!("--nice={nice}")));
        arguments
    }
}

/// A list of processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) Vec<usize>);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, cpu) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{cpu}")?;
        }
        Ok(())
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                let number = text.trim().parse().ok();
                number.filter(|number: &usize| *number < CpuSet::MAX_CPU)
            };
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
                _ => {
                    return Err(format!(
                        "{part:?} is no processor, wanted a list like 2-5,8"
                    ));
                }
            }
        }
        Ok(Self(cpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!("0".parse(), Ok(Cpus(vec![0])));
        assert_eq!("2-4,8".parse(), Ok(Cpus(vec![2, 3, 4, 8])));
        for wrong in ["", "a", "3-2", "1,,2", "0-1000000", "-1"] {
            let error = wrong.parse::<Cpus>().unwrap_err();
            assert!(error.contains("wanted a list"), "{error}");
        }
    }
}
