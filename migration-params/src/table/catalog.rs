// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Every known name with what a help table shows, and what to say about an unknown one.

use super::capability_rows::with_capabilities;
use super::error::ParamError;
use super::group::Group;
use super::parameter_rows::with_parameters;
use crate::values::bounded::{
    AnnounceDelay, AnnounceRounds, AnnounceStep, Bandwidth, ChannelCount, CpuThrottle,
    DirtyLimitPeriod, DowntimeLimit, Percent, QatzipLevel, VcpuDirtyLimit, ZlibLevel, ZstdLevel,
};
use crate::values::cache_size::XbzrleCacheSize;
use crate::values::choice::{Compression, Mode, ZeroPageDetection};
use crate::values::tls_name::TlsName;
use crate::values::value::Value;

/// Expands one of the tables into the rows of the help table.
macro_rules! rows {
    (
        $group:ident, $rows:ident;
        $( $name:literal $field:ident: $type:ty = $default:expr, $about:literal $(, $more:literal)*; )*
    ) => {
        fn $rows() -> Vec<Known> {
            vec![ $( {
                let default: $type = $default;
                Known {
                    name: $name,
                    group: Group::$group,
                    kind: <$type as Value>::KIND,
                    unit: <$type as Value>::UNIT,
                    default: Value::text(&default),
                    allowed: <$type as Value>::allowed(),
                    description: $about,
                }
            }, )* ]
        }
    };
}

with_parameters! { rows! { Parameter, parameters; } }
with_capabilities! { rows! { Capability, capabilities; } }

/// One known name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// QEMU's name.
    pub name: &'static str,
    /// Parameter or capability.
    pub group: Group,
    /// QMP's type: `u8`, `u64`, `size`, `bool`, `enum`, or `str`.
    pub kind: &'static str,
    /// The unit, or nothing.
    pub unit: &'static str,
    /// The default as text that can be set again.
    pub default: String,
    /// The accepted values in words.
    pub allowed: String,
    /// One line about it.
    pub description: &'static str,
}

/// Every parameter and then every capability, in the order in which they are printed.
pub fn known() -> impl Iterator<Item = Known> {
    parameters().into_iter().chain(capabilities())
}

/// The error for a `name` that is not in the group `wanted`.
pub(crate) fn unknown(name: &str, wanted: Group) -> ParamError {
    if let Some(other) = known().find(|known| known.name == name) {
        return ParamError::WrongGroup {
            name: other.name,
            actual: other.group,
            wanted,
        };
    }
    if let Some((name, topic)) = NOT_SUPPORTED.iter().find(|(known, _)| *known == name) {
        return ParamError::NotSupported { name, topic };
    }
    ParamError::Unknown {
        name: name.to_owned(),
        nearest: nearest(name),
    }
}

/// The known name with the fewest differing letters, if they are few; else one that contains `name`.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_GUESSED {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    let names = || known().map(|known| known.name);
    let few = (name.len() / 3).max(1);
    let close = names()
        .map(|known| (distance(&name, known), known))
        .filter(|(distance, _)| *distance <= few)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known);
    close.or_else(|| names().find(|known| name.len() >= SHORTEST_PART && known.contains(&name)))
}

/// Levenshtein's distance: the insertions, deletions and replacements that turn `from` into `to`.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    let mut distance = to.len();
    for (line, letter) in from.bytes().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, wanted) in row.iter_mut().skip(1).zip(to.bytes()) {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        distance = left;
    }
    distance
}

/// QEMU's names that no part of a precopy RAM migration reads, and what they belong to.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("block-bitmap-mapping", "the migration of block bitmaps"),
    ("cpr-exec-command", "the CPR mode cpr-exec"),
    ("dirty-bitmaps", "the migration of block bitmaps"),
    ("max-postcopy-bandwidth", "postcopy"),
    ("postcopy-blocktime", "postcopy"),
    ("rdma-pin-all", "RDMA"),
    ("x-checkpoint-delay", "COLO"),
    ("x-colo", "COLO"),
];

/// No known name is nearly as long, so a longer one is not a typing error.
const LONGEST_GUESSED: usize = 64;
/// A shorter text is part of too many names to point at one.
const SHORTEST_PART: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (from, to, wanted) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(from, to), wanted, "{from} {to}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        for (given, wanted) in [
            ("multifd-chanels", Some("multifd-channels")),
            ("multifd_channels", Some("multifd-channels")),
            ("MULTIFD", Some("multifd")),
            ("mutlifd", Some("multifd")),
            ("zlib-level", Some("multifd-zlib-level")),
            ("downtime", Some("downtime-limit")),
            ("colour", None),
            ("", None),
            ("e", None),
        ] {
            assert_eq!(nearest(given), wanted, "{given}");
        }
        assert_eq!(nearest(&"multifd".repeat(100)), None);
    }

    #[test]
    fn names_left_out_are_not_known() {
        for (name, _) in NOT_SUPPORTED {
            assert!(known().all(|known| known.name != *name), "{name}");
            let error = unknown(name, Group::Parameter);
            assert!(matches!(error, ParamError::NotSupported { .. }), "{error}");
        }
    }

    #[test]
    fn names_are_unique_and_lower_case() {
        let mut names: Vec<_> = known().map(|known| known.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let lower = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(names.iter().all(|name| name.chars().all(lower)));
    }
}
