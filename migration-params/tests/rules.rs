// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each rule, by setting both sides of it in either order.

#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are tests too, which clippy.toml cannot tell"
)]

use migration_params::{
    Compression, Host, ParamError, Phase, Settings, SettingsUpdate, TlsName, Transport, rules,
};

const FILE: Transport = Transport::File {
    direct_descriptor: true,
};

fn settings(texts: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.set_all(texts).unwrap();
    settings
}

fn update(texts: &[&str]) -> SettingsUpdate {
    let mut update = SettingsUpdate::default();
    for text in texts {
        update.set(text).unwrap();
    }
    update
}

#[track_caller]
fn assert_conflict(result: Result<(), ParamError>, wanted: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, ParamError::Conflict { .. }), "{error:?}");
    assert_eq!(error.to_string(), wanted);
}

/// Refuses `texts` set together, and one after another in both orders. Nothing changes.
#[track_caller]
fn assert_exclusive(base: &[&str], first: &str, second: &str, wanted: &str) {
    for order in [[first, second], [second, first]] {
        let mut together = settings(base);
        assert_conflict(together.set_all(order), wanted);
        assert_eq!(together, settings(base));

        let mut in_turn = settings(base);
        in_turn.set(order[0]).unwrap();
        let before = in_turn.clone();
        assert_conflict(in_turn.set(order[1]), wanted);
        assert_eq!(in_turn, before);
    }
}

/// Refuses `dependent` without `needed`, and switching `needed` off below it.
#[track_caller]
fn assert_needs(dependent: &str, needed: &str, wanted: &str) {
    let (dependent_on, needed_on) = (format!("{dependent}=on"), format!("{needed}=on"));
    let mut alone = Settings::default();
    assert_conflict(alone.set(&dependent_on), wanted);
    assert_eq!(alone, Settings::default());

    let mut both = settings(&[&dependent_on, &needed_on]);
    let before = both.clone();
    assert_conflict(both.set(&format!("{needed}=off")), wanted);
    assert_eq!(both, before);
}

#[test]
fn multifd_excludes_xbzrle() {
    let wanted = "Multifd is not compatible with xbzrle: \
                  'xbzrle' is on, expected off while multifd is on";
    assert_exclusive(&[], "multifd=on", "xbzrle=on", wanted);
}

#[test]
fn background_snapshot_excludes_multifd() {
    let wanted = "Background-snapshot is not compatible with multifd: \
                  'multifd' is on, expected off while background-snapshot is on";
    assert_exclusive(&[], "multifd=on", "background-snapshot=on", wanted);
}

#[test]
fn mapped_ram_excludes_xbzrle_and_postcopy() {
    let wanted = "Mapped-ram migration is incompatible with xbzrle: \
                  'xbzrle' is on, expected off while mapped-ram is on";
    assert_exclusive(&[], "mapped-ram=on", "xbzrle=on", wanted);
    let wanted = "Mapped-ram migration is incompatible with postcopy: \
                  'postcopy-ram' is on, expected off while mapped-ram is on";
    assert_exclusive(&[], "mapped-ram=on", "postcopy-ram=on", wanted);
}

#[test]
fn postcopy_excludes_ignore_shared() {
    let wanted = "Postcopy is not compatible with ignore-shared: \
                  'x-ignore-shared' is on, expected off while postcopy-ram is on";
    assert_exclusive(&[], "x-ignore-shared=on", "postcopy-ram=on", wanted);
}

#[test]
fn dirty_limit_excludes_auto_converge() {
    let wanted = "dirty-limit conflicts with auto-converge: \
                  'auto-converge' is on, expected off while dirty-limit is on";
    assert_exclusive(&[], "dirty-limit=on", "auto-converge=on", wanted);
}

#[test]
fn dependent_capabilities() {
    let wanted = "Zero copy only available for non-compressed non-TLS multifd migration: \
                  'multifd' is off, expected on while zero-copy-send is on";
    assert_needs("zero-copy-send", "multifd", wanted);
    let wanted = "Postcopy preempt requires postcopy-ram: \
                  'postcopy-ram' is off, expected on while postcopy-preempt is on";
    assert_needs("postcopy-preempt", "postcopy-ram", wanted);
    let wanted = "Capability 'switchover-ack' requires capability 'return-path': \
                  'return-path' is off, expected on while switchover-ack is on";
    assert_needs("switchover-ack", "return-path", wanted);
}

#[test]
fn zero_copy_excludes_compression_and_tls() {
    for method in &Compression::ALL[1..] {
        let wanted = format!(
            "Zero copy only available for non-compressed non-TLS multifd migration: \
             'multifd-compression' is {method}, expected none while zero-copy-send is on"
        );
        let compress = format!("multifd-compression={method}");
        assert_exclusive(&["multifd=on"], "zero-copy-send=on", &compress, &wanted);
    }
    let wanted = "Zero copy only available for non-compressed non-TLS multifd migration: \
                  'tls-creds' is tls0, expected an empty name while zero-copy-send is on";
    assert_exclusive(
        &["multifd=on"],
        "zero-copy-send=on",
        "tls-creds=tls0",
        wanted,
    );
}

/// `multifd` excludes `xbzrle` as well, and is asked first.
#[test]
fn zero_copy_excludes_xbzrle() {
    let mut on = migration_params::Capabilities {
        zero_copy_send: true,
        ..Default::default()
    };
    rules::zero_copy_excludes_xbzrle(&on).unwrap();
    on.xbzrle = true;
    let wanted = "Zero copy only available for non-compressed non-TLS multifd migration: \
                  'xbzrle' is on, expected off while zero-copy-send is on";
    assert_conflict(rules::zero_copy_excludes_xbzrle(&on), wanted);
}

#[test]
fn mapped_ram_excludes_compression_and_tls() {
    let wanted = "Cannot use compression with mapped-ram: \
                  'multifd-compression' is zlib, expected none while mapped-ram is on";
    assert_exclusive(
        &["multifd=on"],
        "mapped-ram=on",
        "multifd-compression=zlib",
        wanted,
    );
    let wanted = "Cannot use TLS with mapped-ram: \
                  'tls-creds' is a, expected an empty name while mapped-ram is on";
    assert_exclusive(&[], "mapped-ram=on", "tls-creds=a", wanted);
}

#[test]
fn the_new_value_is_judged() {
    let mut mapped = settings(&["mapped-ram=on", "multifd=on"]);
    mapped.set("multifd-compression=none").unwrap();
    let mut compressed = settings(&["multifd=on", "multifd-compression=zstd"]);
    compressed
        .set_all(["mapped-ram=on", "multifd-compression=none"])
        .unwrap();
    assert_eq!(compressed, mapped);
}

#[test]
fn max_cpu_throttle_covers_initial() {
    let mut settings = settings(&["cpu-throttle-initial=50", "max-cpu-throttle=50"]);
    let before = settings.clone();
    let range = "Parameter 'max_cpu_throttle' expects an integer in the range of \
                 cpu_throttle_initial to 99";
    assert_conflict(
        settings.set("max-cpu-throttle=49"),
        &format!(
            "{range}: 'max-cpu-throttle' is 49, \
             expected at least cpu-throttle-initial, which is 50"
        ),
    );
    assert_conflict(
        settings.set("cpu-throttle-initial=51"),
        &format!(
            "{range}: 'max-cpu-throttle' is 50, \
             expected at least cpu-throttle-initial, which is 51"
        ),
    );
    assert_eq!(settings, before);
    settings.set("max-cpu-throttle=51").unwrap();
}

#[test]
fn whole_checks_find_what_fields_were_set_to() {
    let mut settings = settings(&["multifd=on"]);
    settings.capabilities.zero_copy_send = true;
    settings.parameters.tls_creds = TlsName::new("tls0").unwrap();
    let host = Host::default();
    for result in [
        settings.check_migrate(Transport::Socket, &host),
        settings.check_incoming(Transport::Socket, &host),
        settings.check_snapshot(),
    ] {
        assert_conflict(
            result,
            "Zero copy only available for non-compressed non-TLS multifd migration: \
             'tls-creds' is tls0, expected an empty name while zero-copy-send is on",
        );
    }
}

#[test]
fn transports() {
    let wanted_several = |transport, cause| {
        format!(
            "Migration requires multi-channel URIs (e.g. tcp): 'transport' is {transport}, expected \
             a tcp, unix or vsock socket, or file with mapped-ram, while {cause} is on"
        )
    };
    let wanted_seekable = |transport| {
        format!(
            "Migration requires seekable transport (e.g. file): 'transport' is {transport}, \
             expected file while mapped-ram is on"
        )
    };
    let rdma = "Multifd is not compatible with RDMA: 'transport' is rdma, \
                expected a tcp, unix or vsock socket while multifd is on";
    let (multifd, mapped) = (&["multifd=on"][..], &["multifd=on", "mapped-ram=on"][..]);
    let preempt = &["postcopy-ram=on", "postcopy-preempt=on"][..];
    for (texts, transport, wanted) in [
        (&[][..], Transport::Socket, None),
        (&[][..], Transport::Fd, None),
        (&[][..], Transport::Exec, None),
        (&[][..], Transport::Rdma, None),
        (&[][..], FILE, None),
        (multifd, Transport::Socket, None),
        (
            multifd,
            Transport::Fd,
            Some(wanted_several("fd", "multifd")),
        ),
        (
            multifd,
            Transport::Exec,
            Some(wanted_several("exec", "multifd")),
        ),
        (multifd, FILE, Some(wanted_several("file", "multifd"))),
        (multifd, Transport::Rdma, Some(rdma.to_owned())),
        (preempt, Transport::Socket, None),
        (
            preempt,
            Transport::Rdma,
            Some(wanted_several("rdma", "postcopy-preempt")),
        ),
        (mapped, FILE, None),
        (mapped, Transport::Socket, Some(wanted_seekable("socket"))),
        (&["mapped-ram=on"][..], FILE, None),
        (
            &["mapped-ram=on"][..],
            Transport::Fd,
            Some(wanted_seekable("fd")),
        ),
    ] {
        let settings = settings(texts);
        let host = Host::default();
        for result in [
            settings.check_migrate(transport, &host),
            settings.check_incoming(transport, &host),
        ] {
            let got = result.map_err(|error| error.to_string()).err();
            assert_eq!(got, wanted, "{texts:?} over {transport}");
        }
    }
}

#[test]
fn direct_io_with_multifd_needs_two_descriptors() {
    let one = Transport::File {
        direct_descriptor: false,
    };
    let host = Host::default();
    let direct = settings(&["multifd=on", "mapped-ram=on", "direct-io=on"]);
    direct.check_migrate(FILE, &host).unwrap();
    assert_conflict(
        direct.check_incoming(one, &host),
        "Multifd with direct-io needs a file descriptor of its own: 'transport' is file, \
         expected a path, or an fd set with a second descriptor opened with O_DIRECT",
    );
    for texts in [
        ["mapped-ram=on", "direct-io=on"],
        ["mapped-ram=on", "multifd=on"],
    ] {
        settings(&texts).check_migrate(one, &host).unwrap();
    }
}

/// Checks `texts` over a socket or file on both sides; says which sides refuse, and why.
fn refusals(texts: &[&str], host: &Host) -> [Option<String>; 2] {
    let settings = settings(texts);
    let transport = if settings.capabilities.mapped_ram {
        FILE
    } else {
        Transport::Socket
    };
    [
        settings.check_migrate(transport, host),
        settings.check_incoming(transport, host),
    ]
    .map(|result| result.err().map(|error| error.to_string()))
}

#[test]
fn what_the_host_lacks() {
    let bare = Host {
        compression: vec![Compression::None, Compression::Zlib],
        direct_io: false,
        zero_copy: false,
        userfaultfd: false,
        dirty_ring: false,
    };
    let both = |text: &str| [Some(text.to_owned()), Some(text.to_owned())];
    let source = |text: &str| [Some(text.to_owned()), None];
    let destination = |text: &str| [None, Some(text.to_owned())];
    for (texts, wanted) in [
        (
            &["multifd=on", "multifd-compression=zlib"][..],
            [None, None],
        ),
        (&["multifd-compression=qpl"][..], [None, None]),
        (
            &["multifd=on", "multifd-compression=qpl"][..],
            both(
                "The compression method is not built in: \
                 'multifd-compression' is qpl, expected one of none, zlib",
            ),
        ),
        (
            &["mapped-ram=on", "direct-io=on"][..],
            both(
                "No build-time support for direct-io: \
                 'direct-io' is on, expected off on a host without O_DIRECT",
            ),
        ),
        (
            &["multifd=on", "zero-copy-send=on"][..],
            source(
                "Zero copy send is not available: 'zero-copy-send' is on, \
                 expected off where sockets cannot send with MSG_ZEROCOPY",
            ),
        ),
        (
            &["dirty-limit=on"][..],
            source(
                "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set: \
                 'dirty-limit' is on, expected off without a dirty ring",
            ),
        ),
        (
            &["postcopy-ram=on"][..],
            destination(
                "Postcopy is not supported by this host: \
                 'postcopy-ram' is on, expected off without userfaultfd",
            ),
        ),
    ] {
        assert_eq!(refusals(texts, &bare), wanted, "{texts:?}");
        assert_eq!(refusals(texts, &Host::default()), [None, None], "{texts:?}");
    }
}

#[test]
fn snapshots_exclude_multifd() {
    Settings::default().check_snapshot().unwrap();
    assert_conflict(
        settings(&["multifd=on"]).check_snapshot(),
        "Snapshots cannot be saved or loaded with multifd: \
         'multifd' is on, expected off for a snapshot",
    );
}

#[test]
fn capabilities_stay_while_a_migration_runs() {
    let mut running = settings(&["multifd=on"]);
    let before = running.clone();
    for text in ["events=on", "multifd=on", "multifd=off"] {
        let result = running.apply_in(&update(&[text, "multifd-channels=9"]), Phase::Running);
        let (name, value) = text.split_once('=').unwrap();
        assert_conflict(
            result,
            &format!(
                "Capabilities cannot be changed while a migration is running: \
                 '{name}' is {value}, expected no change"
            ),
        );
        assert_eq!(running, before);
    }
    running
        .apply_in(&update(&["max-bandwidth=1G"]), Phase::Running)
        .unwrap();
    assert_eq!(running.parameters.max_bandwidth.value(), 1 << 30);
}

#[test]
fn channels_are_decided_before_incoming() {
    let mut listening = settings(&["postcopy-ram=on"]);
    assert_conflict(
        listening.apply_in(&update(&["multifd=on"]), Phase::Listening),
        "Multifd must be set before incoming starts: \
         'multifd' is on, expected off now that the destination listens",
    );
    assert_conflict(
        listening.apply_in(&update(&["postcopy-preempt=on"]), Phase::Listening),
        "Postcopy preempt must be set before incoming starts: \
         'postcopy-preempt' is on, expected off now that the destination listens",
    );
    assert_eq!(listening, settings(&["postcopy-ram=on"]));

    let mut early = settings(&["multifd=on", "postcopy-ram=on", "postcopy-preempt=on"]);
    for name in ["multifd", "postcopy-preempt"] {
        for value in ["on", "off"] {
            let same_or_off = update(&[&format!("{name}={value}")]);
            early.apply_in(&same_or_off, Phase::Listening).unwrap();
        }
        let again = update(&[&format!("{name}=on")]);
        early.apply_in(&again, Phase::Listening).unwrap_err();
    }
    early
        .apply_in(&update(&["events=on"]), Phase::Listening)
        .unwrap();
    assert_eq!(early, settings(&["postcopy-ram=on", "events=on"]));
}

/// QEMU allows multifd beside postcopy, where it carries the precopy part.
#[test]
fn multifd_goes_with_postcopy() {
    let both = settings(&["multifd=on", "postcopy-ram=on", "multifd-compression=zstd"]);
    both.check_migrate(Transport::Socket, &Host::default())
        .unwrap();
}
