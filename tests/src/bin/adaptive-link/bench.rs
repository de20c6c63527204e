// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What there is to measure with.

use multifd_tests::arena::Arena;
use multifd_tests::measured::Hosts;

/// What there is to measure with.
pub(crate) struct Bench {
    pub(crate) arena: Arena,
    pub(crate) channels: u8,
    pub(crate) hosts: Hosts,
}
