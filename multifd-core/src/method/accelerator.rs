// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which implementations a method may use.

use std::fmt;
use std::str::FromStr;

/// What a host wants of a method that an accelerator can do: the option [`Accelerator::OPTION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accelerator {
    /// The device where it is usable, else the method's own software, channel by channel and packet by packet.
    /// What the device did not do is counted, and the first of each channel is logged.
    #[default]
    Auto,
    /// The device, every packet of it: without it the method cannot be opened or a channel not be set up, and the
    /// first packet that it does not do ends the migration.
    Hardware,
    /// The vendor's library, whatever it does the work with: its device or its own software.
    Library,
    /// The method's own software; the vendor's library is not loaded.
    Software,
}

impl Accelerator {
    /// The name of the option, which all methods share.
    pub const OPTION: &str = "accelerator";

    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Hardware, Self::Library, Self::Software];

    /// Its value in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hardware => "hardware",
            Self::Library => "library",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Accelerator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|choice| choice.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{} is {text:?}, wanted one of {names}", Self::OPTION)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_a_name() {
        for choice in Accelerator::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!(
            "gpu".parse::<Accelerator>().unwrap_err(),
            "accelerator is \"gpu\", wanted one of auto, hardware, library, software"
        );
    }
}
