//! Migrations that fail: the guest runs on, nothing is left of it elsewhere, and the next attempt succeeds.

mod bench;
mod meddler;
mod moments;
mod receiving;
mod sending;

use super::{Age, Case, Peers, Row};

pub(super) fn cases() -> Vec<Case> {
    [receiving::cases(), moments::cases(), sending::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// A case with a QEMU of today.
fn row(mode: &str, peers: Peers, role: &'static str) -> Row {
    Row {
        peers,
        role,
        machine: MACHINE.into(),
        method: "none".into(),
        mode: mode.to_owned(),
        channels: "2".into(),
    }
}

const FROM: Peers = Peers::From(Age::Current);
const TO: Peers = Peers::To(Age::Current);
const MACHINE: &str = "pc";
const MEMORY: u64 = 8 << 20;
