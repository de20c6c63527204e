// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parameters that are one of a few names.

use std::fmt;
use std::str::FromStr;

use super::error::ValueError;
use super::value::{self, Form, Value};

/// Declares enums whose variants carry QEMU's names.
macro_rules! choice {
    ($(
        $(#[$doc:meta])*
        $enum:ident { $( $(#[$variant_doc:meta])* $variant:ident = $name:literal, )* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $enum { $( $(#[$variant_doc])* $variant, )* }

        impl $enum {
            /// Every variant, in QEMU's order.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// QEMU's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }
        }

        impl Value for $enum {
            const KIND: &'static str = "enum";

            fn allowed() -> String {
                one_of(Self::ALL.iter().map(|choice| choice.name()))
            }

            fn read(text: &str, _: Form) -> Option<Self> {
                match text { $( $name => Some(Self::$variant), )* _ => None }
            }

            fn text(&self) -> String {
                self.name().to_owned()
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $enum {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                value::parse_alone(stringify!($enum), text)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::read(&text, Form::Plain).ok_or_else(|| {
                    serde::de::Error::custom(value::refused::<Self>(stringify!($enum), text))
                })
            }
        }
    )*};
}

choice! {
    /// The method that turns pages into the payload of a multifd packet.
    Compression {
        /// Pages as they are.
        None = "none",
        /// One deflate stream per channel in zlib's format.
        Zlib = "zlib",
        /// One zstd stream per channel.
        Zstd = "zstd",
        /// Gzip members as Intel QAT's library QATzip writes them.
        Qatzip = "qatzip",
        /// Deflate per page, made by Intel's In-Memory Analytics Accelerator through QPL.
        Qpl = "qpl",
        /// Deflate per page, made by a Kunpeng accelerator through UADK.
        Uadk = "uadk",
    }

    /// Who looks for pages that hold only zeros, on the source.
    ZeroPageDetection {
        /// Nobody: every page is sent.
        None = "none",
        /// The migration thread; zero pages are named on the main channel.
        Legacy = "legacy",
        /// The multifd channels; zero pages are named in packets. Like `Legacy` while the capability
        /// `multifd` is off.
        Multifd = "multifd",
    }

    /// What the migration is for.
    Mode {
        /// The guest moves and both hosts stay.
        Normal = "normal",
        /// The guest is saved, the host reboots, the guest is loaded.
        CprReboot = "cpr-reboot",
        /// The guest moves to a new process on the same host, which takes over its memory.
        CprTransfer = "cpr-transfer",
        /// The process replaces itself with a new program and keeps the guest's memory.
        CprExec = "cpr-exec",
    }
}

/// The words for a list of names.
pub(crate) fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("one of {}", names.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_qemus() {
        let names = |all: &[Compression]| all.iter().map(|m| m.name()).collect::<Vec<_>>();
        assert_eq!(
            names(Compression::ALL),
            ["none", "zlib", "zstd", "qatzip", "qpl", "uadk"]
        );
        for choice in Compression::ALL {
            assert_eq!(choice.name().parse(), Ok(*choice));
        }
        for choice in ZeroPageDetection::ALL {
            assert_eq!(choice.to_string().parse(), Ok(*choice));
        }
        for choice in Mode::ALL {
            assert_eq!(choice.to_string().parse(), Ok(*choice));
        }
    }

    #[test]
    fn other_names_are_refused_with_the_list() {
        assert_eq!(
            "lz4".parse::<Compression>().unwrap_err().to_string(),
            "Compression expects one of none, zlib, zstd, qatzip, qpl, uadk, got 'lz4'"
        );
        for bad in ["Zlib", "", "none,zlib"] {
            assert!(bad.parse::<Compression>().is_err(), "{bad:?}");
        }
    }
}
