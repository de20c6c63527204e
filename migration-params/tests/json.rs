// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! JSON as QMP takes and gives it.

use migration_params::{
    Capabilities, CapabilitiesUpdate, Compression, Parameters, ParametersUpdate, Settings,
    ZlibLevel,
};
use serde_json::{from_str, json, to_value};

#[test]
fn parameters_are_one_object() {
    let update: ParametersUpdate = from_str(
        r#"{ "multifd-compression": "qatzip", "multifd-zlib-level": 9, "max-bandwidth": 1073741824,
             "direct-io": true, "tls-creds": "tls0" }"#,
    )
    .unwrap();
    let wanted = ParametersUpdate {
        multifd_compression: Some(Compression::Qatzip),
        multifd_zlib_level: Some(ZlibLevel::constant::<9>()),
        max_bandwidth: Some("1G".parse().unwrap()),
        direct_io: Some(true),
        tls_creds: Some("tls0".parse().unwrap()),
        ..Default::default()
    };
    assert_eq!(update, wanted);
    assert_eq!(
        to_value(&update).unwrap(),
        json!({ "multifd-compression": "qatzip", "multifd-zlib-level": 9,
                "max-bandwidth": 1_073_741_824, "direct-io": true, "tls-creds": "tls0" })
    );
    assert_eq!(
        from_str::<ParametersUpdate>("{}").unwrap(),
        ParametersUpdate::default()
    );
}

#[test]
fn null_empties_a_tls_name_and_nothing_else() {
    let update: ParametersUpdate = from_str(r#"{ "tls-creds": null }"#).unwrap();
    assert_eq!(update.tls_creds.map(|name| name.is_empty()), Some(true));
    from_str::<ParametersUpdate>(r#"{ "multifd-channels": null }"#).unwrap_err();
}

#[test]
fn refused_members_are_named() {
    for (text, wanted) in [
        (
            r#"{ "multifd-chanels": 2 }"#,
            "no parameter or capability is named 'multifd-chanels', \
             did you mean 'multifd-channels'?",
        ),
        (
            r#"{ "multifd": true }"#,
            "'multifd' is a capability, not a parameter",
        ),
        (
            r#"{ "multifd-zstd-level": 21 }"#,
            "Parameter 'multifd-zstd-level': ZstdLevel expects a value between 0 and 20, got '21'",
        ),
        (
            r#"{ "multifd-channels": 256 }"#,
            "Parameter 'multifd-channels': ChannelCount expects a value between 1 and 255, \
             got '256'",
        ),
        (
            r#"{ "multifd-channels": "2" }"#,
            "Parameter 'multifd-channels': invalid type: string \"2\", expected u64",
        ),
        (
            r#"{ "max-bandwidth": -1 }"#,
            "Parameter 'max-bandwidth': invalid value: integer `-1`, expected u64",
        ),
        (
            r#"{ "multifd-compression": "lz4" }"#,
            "Parameter 'multifd-compression': Compression expects \
             one of none, zlib, zstd, qatzip, qpl, uadk, got 'lz4'",
        ),
        (
            r#"{ "xbzrle-cache-size": 5000 }"#,
            "Parameter 'xbzrle-cache-size': XbzrleCacheSize expects \
             a power of two no less than the target page size of 4096, got '5000'",
        ),
        (
            r#"{ "tls-authz": "a\nb" }"#,
            "Parameter 'tls-authz': TlsName expects text without control characters, got 'a\\nb'",
        ),
        (
            r#"{ "downtime-limit": 1, "downtime-limit": 2 }"#,
            "duplicate field `downtime-limit`",
        ),
        (
            "[]",
            "invalid type: sequence, expected an object of migration parameters",
        ),
    ] {
        let error = from_str::<ParametersUpdate>(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}\n{wanted}");
    }
}

#[test]
fn capabilities_are_a_list() {
    let update: CapabilitiesUpdate = from_str(
        r#"[{ "capability": "multifd", "state": true }, { "capability": "events", "state": true },
            { "state": false, "capability": "events" }]"#,
    )
    .unwrap();
    let wanted = CapabilitiesUpdate {
        multifd: Some(true),
        events: Some(false),
        ..Default::default()
    };
    assert_eq!(update, wanted);
    assert_eq!(
        to_value(&update).unwrap(),
        json!([{ "capability": "events", "state": false },
               { "capability": "multifd", "state": true }])
    );
    for (text, wanted) in [
        (
            r#"[{ "capability": "multi-fd", "state": true }]"#,
            "no parameter or capability is named 'multi-fd', did you mean 'multifd'?",
        ),
        (
            r#"[{ "capability": "mode", "state": true }]"#,
            "'mode' is a parameter, not a capability",
        ),
        (r#"[{ "capability": "multifd" }]"#, "missing field `state`"),
        (
            r#"[{ "capability": "multifd", "state": "on" }]"#,
            "invalid type: string \"on\", expected a boolean",
        ),
        (
            r#"[{ "capability": "multifd", "state": true, "x": 1 }]"#,
            "unknown field `x`",
        ),
        (
            r#"{ "multifd": true }"#,
            "invalid type: map, expected a list of migration capabilities",
        ),
    ] {
        let error = from_str::<CapabilitiesUpdate>(text)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(wanted), "{error}\n{wanted}");
    }
}

#[test]
fn complete_values_read_back() {
    let mut settings = Settings::default();
    settings
        .set_all([
            "multifd=on",
            "tls-hostname=qemu.org",
            "mode=cpr-reboot",
            "announce-step=7",
        ])
        .unwrap();
    let parameters = to_value(&settings.parameters).unwrap();
    assert_eq!(
        parameters.as_object().unwrap().len(),
        ParametersUpdate::NAMES.len()
    );
    let names_and_kinds = [
        ("multifd-channels", json!(2)),
        ("multifd-compression", json!("none")),
        ("tls-hostname", json!("qemu.org")),
        ("tls-creds", json!("")),
        ("max-bandwidth", json!(134_217_728)),
        ("direct-io", json!(false)),
        ("mode", json!("cpr-reboot")),
        ("announce-step", json!(7)),
    ];
    for (name, wanted) in names_and_kinds {
        assert_eq!(parameters[name], wanted, "{name}");
    }
    let read: Parameters = serde_json::from_value(parameters).unwrap();
    assert_eq!(read, settings.parameters);

    let capabilities = to_value(&settings.capabilities).unwrap();
    assert_eq!(
        capabilities.as_array().unwrap().len(),
        CapabilitiesUpdate::NAMES.len()
    );
    let read: Capabilities = serde_json::from_value(capabilities).unwrap();
    assert_eq!(read, settings.capabilities);
}

#[test]
fn complete_values_keep_the_rules() {
    let error = from_str::<Parameters>(r#"{ "max-cpu-throttle": 10 }"#).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("at least cpu-throttle-initial, which is 20")
    );
    let error = from_str::<Capabilities>(r#"[{ "capability": "switchover-ack", "state": true }]"#);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("requires capability 'return-path'")
    );
}
