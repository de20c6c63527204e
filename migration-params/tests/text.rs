// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The text forms, the help table, and the printed form read back.

#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are tests too, which clippy.toml cannot tell"
)]

use migration_params::{
    AnnounceDelay, AnnounceRounds, AnnounceStep, Bandwidth, Capabilities, CapabilitiesUpdate,
    ChannelCount, Compression, CpuThrottle, DirtyLimitPeriod, DowntimeLimit, Group, Mode,
    ParamError, Parameters, ParametersUpdate, Percent, QatzipLevel, Settings, SettingsUpdate,
    TlsName, VcpuDirtyLimit, XbzrleCacheSize, ZeroPageDetection, ZlibLevel, ZstdLevel, known,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Name, type, default as `info migrate_parameters` prints it, accepted values with the smallest and
/// the largest, refused values.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// QEMU's parameters.
const PARAMETERS: &[Row] = &[
    ("multifd-channels", "u8", "2", &["1", "255"], &["0", "256"]),
    (
        "multifd-compression",
        "enum",
        "none",
        &["zlib", "uadk"],
        &["lz4", "", "1"],
    ),
    ("multifd-zlib-level", "u8", "1", &["0", "9"], &["10", "-1"]),
    ("multifd-zstd-level", "u8", "1", &["0", "20"], &["21"]),
    ("multifd-qatzip-level", "u8", "1", &["1", "9"], &["0", "10"]),
    (
        "zero-page-detection",
        "enum",
        "multifd",
        &["none", "legacy"],
        &["off"],
    ),
    (
        "direct-io",
        "bool",
        "off",
        &["on", "true", "yes", "y", "no"],
        &["1", "ON"],
    ),
    ("tls-creds", "str", "''", &["tls0", ""], &["a\nb"]),
    ("tls-hostname", "str", "''", &["qemu.org", "::1"], &["a\tb"]),
    ("tls-authz", "str", "''", &["authz0"], &["\u{7f}"]),
    (
        "max-bandwidth",
        "size",
        "134217728 bytes/second",
        &["0", "15E"],
        &["16E", "-1"],
    ),
    (
        "avail-switchover-bandwidth",
        "size",
        "0 bytes/second",
        &["0", "1.5G"],
        &["1.5"],
    ),
    (
        "downtime-limit",
        "u64",
        "300 ms",
        &["0", "2000000"],
        &["2000001", "1K"],
    ),
    (
        "throttle-trigger-threshold",
        "u8",
        "50",
        &["1", "100"],
        &["0", "101"],
    ),
    (
        "cpu-throttle-initial",
        "u8",
        "20",
        &["1", "99"],
        &["0", "100"],
    ),
    (
        "cpu-throttle-increment",
        "u8",
        "10",
        &["1", "99"],
        &["0", "100"],
    ),
    ("cpu-throttle-tailslow", "bool", "off", &["on"], &["2"]),
    ("max-cpu-throttle", "u8", "99", &["20", "99"], &["0", "100"]),
    (
        "xbzrle-cache-size",
        "size",
        "67108864 bytes",
        &["4K", "1G"],
        &["2K", "3M", "0"],
    ),
    (
        "announce-initial",
        "size",
        "50 ms",
        &["0", "100000"],
        &["100001"],
    ),
    (
        "announce-max",
        "size",
        "550 ms",
        &["0", "100000"],
        &["100001"],
    ),
    ("announce-rounds", "size", "5", &["0", "1000"], &["1001"]),
    (
        "announce-step",
        "size",
        "100 ms",
        &["1", "10000"],
        &["0", "10001"],
    ),
    (
        "x-vcpu-dirty-limit-period",
        "u64",
        "1000 ms",
        &["1", "1000"],
        &["0", "1001"],
    ),
    (
        "vcpu-dirty-limit",
        "u64",
        "1 MB/s",
        &["1", "18446744073709551615"],
        &["0"],
    ),
    (
        "mode",
        "enum",
        "normal",
        &["cpr-reboot", "cpr-exec"],
        &["cpr"],
    ),
];

const CAPABILITIES: &[&str] = &[
    "xbzrle",
    "auto-converge",
    "events",
    "postcopy-ram",
    "release-ram",
    "return-path",
    "pause-before-switchover",
    "multifd",
    "late-block-activate",
    "x-ignore-shared",
    "validate-uuid",
    "background-snapshot",
    "zero-copy-send",
    "postcopy-preempt",
    "switchover-ack",
    "dirty-limit",
    "mapped-ram",
];

#[test]
fn the_help_table_has_qemus_names_types_and_defaults() {
    let with_unit = |default: &str, unit: &str| format!("{default} {unit}").trim_end().to_owned();
    let rows: Vec<_> = known()
        .map(|row| {
            (
                row.group,
                row.name,
                row.kind,
                with_unit(&row.default, row.unit),
            )
        })
        .collect();
    let parameters = PARAMETERS
        .iter()
        .map(|(name, kind, default, ..)| (Group::Parameter, *name, *kind, (*default).to_owned()));
    let capabilities = CAPABILITIES
        .iter()
        .map(|name| (Group::Capability, *name, "bool", "off".to_owned()));
    assert_eq!(rows, parameters.chain(capabilities).collect::<Vec<_>>());
    assert!(known().all(|row| row.description.ends_with('.') && !row.allowed.is_empty()));
    assert_eq!(CapabilitiesUpdate::NAMES, CAPABILITIES);
}

#[test]
fn defaults_print_as_in_qemus_monitor() {
    let lines: Vec<_> = PARAMETERS
        .iter()
        .map(|(name, _, default, ..)| format!("{name}: {default}"))
        .collect();
    assert_eq!(Parameters::default().to_string(), lines.join("\n"));
    let states: Vec<_> = CAPABILITIES
        .iter()
        .map(|name| format!("{name}: off"))
        .collect();
    assert_eq!(Capabilities::default().to_string(), states.join("\n"));
    assert_eq!(
        Settings::default().to_string(),
        format!("{}\n{}", lines.join("\n"), states.join("\n"))
    );
}

#[test]
fn every_parameter_takes_its_edges_and_refuses_what_lies_beyond() {
    for (name, _, _, good, bad) in PARAMETERS {
        for value in *good {
            let mut settings = Settings::default();
            settings.set(&format!("{name}={value}")).unwrap();
            let changed = settings.entries().find(|(known, _)| known == name);
            let read: ParametersUpdate = format!("{name}={value}").parse().unwrap();
            assert_eq!(changed, read.entries().next(), "{name}={value}");
        }
        for value in *bad {
            let mut settings = Settings::default();
            let error = settings.set(&format!("{name}={value}")).unwrap_err();
            let ParamError::Invalid {
                name: named,
                given,
                allowed,
                ..
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!((named, given.as_str()), (name, *value));
            let row = known().find(|row| row.name == *name).unwrap();
            assert_eq!(*allowed, row.allowed);
            assert_eq!(settings, Settings::default());
        }
    }
}

#[test]
fn three_forms_of_an_assignment() {
    for text in [
        "multifd-compression=qatzip",
        "multifd-compression qatzip",
        "multifd-compression: qatzip",
        "  multifd-compression \t qatzip\r\n",
    ] {
        let update: ParametersUpdate = text.parse().unwrap();
        assert_eq!(
            update.multifd_compression,
            Some(Compression::Qatzip),
            "{text:?}"
        );
    }
    for (text, wanted) in [
        ("max-bandwidth=100", 100),
        ("max-bandwidth: 100", 100),
        ("max-bandwidth 100", 100 << 20),
        ("max-bandwidth 100 bytes/second", 100),
        ("max-bandwidth 100K", 100 << 10),
        ("max-bandwidth=128M", 128 << 20),
        ("max-bandwidth=1G", 1 << 30),
    ] {
        let update: ParametersUpdate = text.parse().unwrap();
        assert_eq!(update.max_bandwidth.unwrap().value(), wanted, "{text}");
    }
    for (text, wanted) in [
        ("multifd on", true),
        ("multifd=true", true),
        ("multifd=yes", true),
        ("multifd: off", false),
        ("multifd=false", false),
        ("multifd no", false),
    ] {
        let update: CapabilitiesUpdate = text.parse().unwrap();
        assert_eq!(update.multifd, Some(wanted), "{text}");
    }
}

#[test]
fn errors_name_what_was_given_and_what_is_allowed() {
    let mut settings = Settings::default();
    for (text, wanted) in [
        (
            "multifd-channels=0",
            "Parameter 'multifd-channels' expects a value between 1 and 255, got '0'",
        ),
        (
            "multifd-compression lz4",
            "Parameter 'multifd-compression' expects \
             one of none, zlib, zstd, qatzip, qpl, uadk, got 'lz4'",
        ),
        (
            "multifd=maybe",
            "Capability 'multifd' expects 'on' or 'off', got 'maybe'",
        ),
        (
            "multifd-chanels=4",
            "no parameter or capability is named 'multifd-chanels', \
             did you mean 'multifd-channels'?",
        ),
        (
            "zero-copy=on",
            "no parameter or capability is named 'zero-copy', did you mean 'zero-copy-send'?",
        ),
        ("colour=red", "no parameter or capability is named 'colour'"),
        ("x-colo=on", "'x-colo' is not supported: it belongs to COLO"),
        (
            "multifd",
            "'multifd' is not an assignment, expected name=value or name value",
        ),
    ] {
        assert_eq!(settings.set(text).unwrap_err().to_string(), wanted);
    }
    assert_eq!(settings, Settings::default());
    assert_eq!(
        "multifd=on"
            .parse::<ParametersUpdate>()
            .unwrap_err()
            .to_string(),
        "'multifd' is a capability, not a parameter"
    );
    assert_eq!(
        "multifd-channels=4"
            .parse::<CapabilitiesUpdate>()
            .unwrap_err()
            .to_string(),
        "'multifd-channels' is a parameter, not a capability"
    );
}

#[test]
fn several_assignments_are_all_or_nothing() {
    let mut settings = Settings::default();
    for texts in [
        ["multifd=on", "multifd-channels=4", "multifd-zlib-level=10"],
        ["multifd=on", "multifd-channels=4", "xbzrle=on"],
        ["multifd=on", "multifd-channels=4", "unknown=1"],
    ] {
        settings.set_all(texts).unwrap_err();
        assert_eq!(settings, Settings::default());
    }
    // Together they keep the rules that they would break one after another.
    settings
        .set_all(["zero-copy-send=on", "multifd=on", "multifd-channels=4"])
        .unwrap();
    settings
        .set_all(["multifd-channels=5", "multifd-channels=6"])
        .unwrap();
    assert_eq!(settings.parameters.multifd_channels.value(), 6);
    assert!(settings.capabilities.zero_copy_send);
}

prop_compose! {
    fn levels()(
        channels in 1..=255_u8, zlib in 0..=9_u8, zstd in 0..=20_u8, qatzip in 1..=9_u8,
        method in select(Compression::ALL), zero in select(ZeroPageDetection::ALL),
        mode in select(Mode::ALL), direct_io: bool,
        creds in "\\PC*", hostname in "\\PC*", authz in "['\" =:a-z]*",
    ) -> Parameters {
        Parameters {
            multifd_channels: ChannelCount::new(channels).unwrap(),
            multifd_compression: method,
            multifd_zlib_level: ZlibLevel::new(zlib).unwrap(),
            multifd_zstd_level: ZstdLevel::new(zstd).unwrap(),
            multifd_qatzip_level: QatzipLevel::new(qatzip).unwrap(),
            zero_page_detection: zero,
            mode,
            direct_io,
            tls_creds: TlsName::new(creds).unwrap(),
            tls_hostname: TlsName::new(hostname).unwrap(),
            tls_authz: TlsName::new(authz).unwrap(),
            ..Default::default()
        }
    }
}

prop_compose! {
    fn parameters()(
        base in levels(), max in 0..=usize::MAX as u64, avail in 0..=usize::MAX as u64,
        downtime in 0..=2_000_000_u64, trigger in 1..=100_u8, increment in 1..=99_u8,
        (initial, most) in (1..=99_u8).prop_flat_map(|most| (1..=most, Just(most))),
        tailslow: bool, cache in 12..usize::BITS,
        (first, longest, rounds, step) in (0..=100_000_u64, 0..=100_000_u64, 0..=1000_u64, 1..=10_000_u64),
        (period, dirty) in (1..=1000_u64, 1..=u64::MAX),
    ) -> Parameters {
        Parameters {
            max_bandwidth: Bandwidth::new(max).unwrap(),
            avail_switchover_bandwidth: Bandwidth::new(avail).unwrap(),
            downtime_limit: DowntimeLimit::new(downtime).unwrap(),
            throttle_trigger_threshold: Percent::new(trigger).unwrap(),
            cpu_throttle_initial: CpuThrottle::new(initial).unwrap(),
            cpu_throttle_increment: CpuThrottle::new(increment).unwrap(),
            cpu_throttle_tailslow: tailslow,
            max_cpu_throttle: CpuThrottle::new(most).unwrap(),
            xbzrle_cache_size: XbzrleCacheSize::new(1 << cache).unwrap(),
            announce_initial: AnnounceDelay::new(first).unwrap(),
            announce_max: AnnounceDelay::new(longest).unwrap(),
            announce_rounds: AnnounceRounds::new(rounds).unwrap(),
            announce_step: AnnounceStep::new(step).unwrap(),
            x_vcpu_dirty_limit_period: DirtyLimitPeriod::new(period).unwrap(),
            vcpu_dirty_limit: VcpuDirtyLimit::new(dirty).unwrap(),
            ..base
        }
    }
}

proptest! {
    #[test]
    fn printed_parameters_read_back(parameters in parameters()) {
        let mut from_lines = ParametersUpdate::default();
        for line in parameters.to_string().lines() {
            from_lines.set(line).unwrap();
        }
        let mut from_entries = ParametersUpdate::default();
        for (name, value) in parameters.entries() {
            from_entries.set(&format!("{name}={value}")).unwrap();
        }
        prop_assert_eq!(&from_lines, &from_entries);
        let mut read = Parameters::default();
        read.apply(&from_lines).unwrap();
        prop_assert_eq!(read, parameters);
    }

    #[test]
    fn printed_capabilities_read_back(states in prop::collection::vec(any::<bool>(), CAPABILITIES.len())) {
        let mut update = CapabilitiesUpdate::default();
        for (name, state) in CAPABILITIES.iter().zip(&states) {
            update.set(&format!("{name} {}", if *state { "yes" } else { "no" })).unwrap();
        }
        let mut capabilities = Capabilities::default();
        if capabilities.apply(&update).is_ok() {
            let mut read = CapabilitiesUpdate::default();
            for line in capabilities.to_string().lines() {
                read.set(line).unwrap();
            }
            prop_assert_eq!(read, update);
        } else {
            prop_assert_eq!(capabilities, Capabilities::default());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", name in select(CAPABILITIES), value in "\\PC*") {
        let mut update = SettingsUpdate::default();
        let _ = update.set(&text);
        let _ = update.set(&format!("{name}={value}"));
        for (name, ..) in PARAMETERS {
            let _ = update.set(&format!("{name}={value}"));
            let _ = update.set(&format!("{name} {text}"));
        }
    }
}
