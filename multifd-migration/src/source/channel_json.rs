// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What JSON says of channels.

use std::time::Duration;

use multifd_core::ChannelStats;
use multifd_core::method::RungCount;
use serde::{Serialize, Serializer};

/// The members of a channel: [`ChannelStats`] by QEMU's names, where it has them.
#[derive(Serialize)]
#[serde(remote = "ChannelStats", rename_all = "kebab-case")]
struct ChannelMembers {
    packets: u64,
    #[serde(rename = "normal")]
    normal_pages: u64,
    #[serde(rename = "duplicate")]
    zero_pages: u64,
    guest_bytes: u64,
    wire_bytes: u64,
    #[serde(with = "crate::millis")]
    cpu_time: Duration,
    #[serde(with = "crate::millis")]
    waited_for_work: Duration,
    #[serde(with = "crate::millis")]
    waited_for_connection: Duration,
}

/// For `#[serde(serialize_with)]`.
pub(super) fn channels<S: Serializer>(
    channels: &[ChannelStats],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Channel(#[serde(with = "ChannelMembers")] ChannelStats);

    serializer.collect_seq(channels.iter().copied().map(Channel))
}

/// The members of a rung.
#[derive(Serialize)]
#[serde(remote = "RungCount", rename_all = "kebab-case")]
struct RungMembers {
    #[serde(rename = "level")]
    name: &'static str,
    packets: u64,
    guest_bytes: u64,
    wire_bytes: u64,
}

/// For `#[serde(serialize_with)]`.
pub(super) fn rungs<S: Serializer>(rungs: &[RungCount], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Rung(#[serde(with = "RungMembers")] RungCount);

    serializer.collect_seq(rungs.iter().copied().map(Rung))
}
