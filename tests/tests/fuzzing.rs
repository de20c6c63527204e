// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The fuzz targets, without a fuzzer: their seeds, and many small changes to these.

use std::time::Duration;

use multifd_tests::conformance::PageSource;
use multifd_tests::fuzzing::{Target, rearrange};
use multifd_tests::network::Watchdog;

/// As long as scripts/fuzz.sh lets one input take.
const A_LONG_INPUT: Duration = Duration::from_secs(20);

/// Targets that take all of their seeds; some of these are there with the feature `command` only.
const WHOLE: [&str; 8] = [
    "channels",
    "destination",
    "kept",
    "recording",
    "relay",
    "saved",
    "settings",
    "source",
];

/// How many changed seeds each target gets.
const CHANGES: usize = 300;

#[test]
fn seeds_are_what_the_decoders_take() {
    let _watchdog = Watchdog::start();
    for target in Target::all() {
        let seeds = (target.seeds)().unwrap();
        let taken = seeds.iter().filter(|seed| (target.run)(seed)).count();
        assert!(taken > 0, "{} takes none of its seeds", target.name);
    }
}

#[test]
fn every_whole_seed_is_taken() {
    let _watchdog = Watchdog::start();
    for name in WHOLE {
        let Some(target) = Target::all().find(|target| target.name == name) else {
            continue;
        };
        for (number, seed) in (target.seeds)().unwrap().iter().enumerate() {
            assert!((target.run)(seed), "{name} does not take its seed {number}");
        }
    }
}

#[test]
fn changed_seeds_are_no_findings() {
    let mut random = PageSource::new(1);
    for target in Target::all() {
        let seeds = (target.seeds)().unwrap();
        for seed in &seeds {
            for _ in 0..CHANGES.div_ceil(seeds.len()) {
                let _watchdog = Watchdog::with_limit(A_LONG_INPUT);
                let mut bytes = seed.clone();
                bytes.truncate(1 + random.below(2 * seed.len()));
                for _ in 0..random.below(4) {
                    let at = random.below(bytes.len());
                    bytes[at] ^= random.byte();
                }
                (target.run)(&bytes);
            }
        }
    }
}

#[test]
fn rearranged_seeds_are_no_findings() {
    for name in ["channels", "destination", "kept", "relay"] {
        let Some(target) = Target::all().find(|target| target.name == name) else {
            continue;
        };
        let seeds = (target.seeds)().unwrap();
        let mut taken = 0;
        for seed in &seeds {
            for number in 0..20 {
                let _watchdog = Watchdog::with_limit(A_LONG_INPUT);
                taken += usize::from((target.run)(&rearrange(seed, number)));
            }
        }
        assert!(0 < taken && taken < 20 * seeds.len(), "{taken} of {name}");
    }
}

#[test]
fn what_was_found_is_found_no_more() {
    for target in Target::all() {
        for input in target.found().unwrap() {
            let _watchdog = Watchdog::with_limit(A_LONG_INPUT);
            (target.run)(&input);
        }
    }
}

#[test]
fn nothing_is_waited_for() {
    // The beginning of a main connection, of a channel, and marks of whose bytes follow.
    let begins: [&[u8]; 6] = [
        b"",
        b"QEVM",
        b"\x11\x22\x33\x44\0\0\0\x01",
        b"\xf5\xe1\x7c\xff\x03",
        b"\xf5\xe1\x7c\0QEVM",
        b"\xf5\xe1\x7c\xfe",
    ];
    for target in Target::all() {
        for begin in begins {
            for (len, byte) in [(0, 0), (60, 0), (60, 1), (60, 0xff)] {
                let _watchdog = Watchdog::with_limit(A_LONG_INPUT);
                (target.run)(&[begin, &vec![byte; len]].concat());
            }
        }
    }
}

#[cfg(feature = "command")]
#[test]
fn every_target_has_its_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<_> = Target::all().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}
