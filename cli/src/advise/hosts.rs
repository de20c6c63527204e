// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The two hosts, as the command line describes them.

use std::thread;

use super::cost::Sides;
use super::model::Hosts;
use crate::args::AdviseArgs;

/// `bandwidth`: bytes per second, or 0.
pub(super) fn hosts(args: &AdviseArgs, bandwidth: u64) -> Hosts {
    let source = source_cores(args);
    Hosts {
        cores: Sides {
            send: source.into(),
            recv: args.destination_cores.unwrap_or(source).into(),
        },
        shared: shared(args),
        bandwidth: (bandwidth > 0).then_some(bandwidth as f64),
    }
}

pub(super) fn source_cores(args: &AdviseArgs) -> u16 {
    let here = || u16::try_from(cores_here()).unwrap_or(u16::MAX);
    args.cores.unwrap_or_else(here)
}

/// A check migrates between two processes of this host.
pub(super) fn shared(args: &AdviseArgs) -> bool {
    args.shared_cores || args.check
}

pub(super) fn cores_here() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}
