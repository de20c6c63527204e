#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use multifd_tests::fuzzing::{Target, rearrange};

fuzz_target!(|bytes: &[u8]| {
    Target::run_named("kept", bytes);
});

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(bytes, size, max_size);
    }
    let changed = rearrange(&bytes[..size], seed / 2);
    let len = changed.len().min(max_size);
    bytes[..len].copy_from_slice(&changed[..len]);
    len
});
