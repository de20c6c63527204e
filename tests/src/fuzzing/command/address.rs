// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Addresses.

use multifd_cli::readers;

use crate::fuzzing::Target;
use crate::fuzzing::text::check_line;

/// One address.
pub(in crate::fuzzing) const ADDRESS: Target = Target {
    name: "address",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return false;
        };
        let read = readers::address(text);
        match &read {
            Ok(printed) => assert_eq!(readers::address(printed).as_ref(), Ok(printed)),
            Err(error) => check_line(error),
        }
        read.is_ok()
    },
    seeds: || Ok(SEEDS.map(|seed| seed.as_bytes().to_vec()).into()),
};

const SEEDS: [&str; 8] = [
    "tcp:host:4444",
    "tcp:[::1]:1",
    "tcp::0",
    "tcp:192.0.2.1:65536",
    "unix:/run/{uuid}/a:b",
    "unix:",
    "exec:cat",
    "host:4444",
];
