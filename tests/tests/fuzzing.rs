//! The fuzz targets, without a fuzzer: their seeds, and many small changes to these.

use std::fs;
use std::path::Path;
use std::time::Duration;

use multifd_tests::conformance::PageSource;
use multifd_tests::fuzzing::Target;
use multifd_tests::network::Watchdog;

/// As long as scripts/fuzz.sh lets one input take.
const A_LONG_INPUT: Duration = Duration::from_secs(20);

#[test]
fn seeds_are_what_the_decoders_take() {
    let _watchdog = Watchdog::start();
    for target in Target::ALL {
        let seeds = (target.seeds)().unwrap();
        let taken = seeds.iter().filter(|seed| (target.run)(seed)).count();
        assert!(taken > 0, "{} takes none of its seeds", target.name);
    }
}

#[test]
fn changed_seeds_are_no_findings() {
    let _watchdog = Watchdog::start();
    let mut random = PageSource::new(1);
    for target in Target::ALL {
        for seed in (target.seeds)().unwrap() {
            for _ in 0..60 {
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
fn a_main_connection_is_no_channel() {
    let _watchdog = Watchdog::with_limit(A_LONG_INPUT);
    Target::run_named("channel", b"QEVM");
}

#[test]
fn every_target_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<_> = Target::ALL.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}
