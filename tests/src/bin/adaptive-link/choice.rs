// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who migrates, and how it compresses.

use std::fmt;

use anyhow::{Context as _, Result};
use migration_params::Compression;
use multifd_tests::measured::{self, Case, Run};
use multifd_tests::peer::Binary;

use crate::bench::Bench;
use crate::link::Link;

/// Who migrates, and how it compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Ours with `none`.
    None,
    /// Ours with one level of zstd.
    Zstd(u8),
    /// Ours with zstd, chosen for each packet.
    Adaptive,
    /// Two QEMUs with zstd's level 1.
    Qemu,
}

impl Choice {
    /// Those that are the same for each packet.
    pub(crate) const FIXED: [Self; 5] = [
        Self::None,
        Self::Zstd(1),
        Self::Zstd(3),
        Self::Zstd(6),
        Self::Zstd(9),
    ];

    /// Migrates once; the link is as fast as it was made.
    pub(crate) fn run(
        self,
        bench: &Bench,
        link: Link,
        blocks: usize,
        qemu: Option<&Binary>,
    ) -> Result<Run> {
        let (method, level) = match self {
            Self::None => (Compression::None, None),
            Self::Zstd(level) => (Compression::Zstd, Some(level)),
            Self::Adaptive => (Compression::Zstd, None),
            Self::Qemu => (Compression::Zstd, Some(1)),
        };
        let case = Case {
            level,
            adapt: self == Self::Adaptive,
            blocks,
            hosts: (link != Link::Unlimited).then_some(&bench.hosts),
            ..Case::new(&bench.arena, method, bench.channels)
        };
        let run = bench.arena.checked(|| match self {
            Self::Qemu => measured::between_qemus(qemu.context("no QEMU")?, &case),
            _ => measured::between_ours(&case),
        });
        run.with_context(|| format!("{self}, {link} Gbit/s"))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Zstd(level) => write!(f, "zstd {level}"),
            Self::Adaptive => write!(f, "adaptive"),
            Self::Qemu => write!(f, "QEMU zstd 1"),
        }
    }
}
