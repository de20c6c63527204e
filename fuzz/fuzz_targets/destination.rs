// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use multifd_tests::fuzzing::{Target, mutate};

fuzz_target!(|bytes: &[u8]| {
    Target::run_named("destination", bytes);
});

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(bytes, (size, max_size), seed, fuzzer_mutate)
});
