// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use multifd_tests::certificates::{Authority, Credentials, Role as Side};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SerialNumber};

use super::*;
use crate::doctor::finding::Status;

const SIDES: [Side; 2] = [Side::Server, Side::Client];

/// A folder whose keys nobody else may read.
fn folder(authority: &Authority, change: impl Fn(&mut CertificateParams)) -> Credentials {
    let folder = authority.folder("a.example", &SIDES, change).unwrap();
    for key in ["server-key.pem", "client-key.pem"] {
        set_mode(&folder, key, 0o600);
    }
    folder
}

fn set_mode(folder: &Credentials, file: &str, mode: u32) {
    let path = folder.path().join(file);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The findings of 2026-01-01.
fn findings(folder: &Path) -> Vec<Finding> {
    let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    Folder::read(folder).findings(now)
}

/// Holds that just these findings are not ok, with these words, and that each says what to do.
#[track_caller]
fn not_ok(folder: &Credentials, want: &[(&str, &str)]) {
    let findings = findings(folder.path());
    let got: Vec<_> = findings
        .iter()
        .filter(|finding| finding.status != Status::Ok)
        .collect();
    let names: Vec<_> = got.iter().map(|finding| finding.name.as_str()).collect();
    let wanted: Vec<_> = want.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, wanted, "{findings:#?}");
    for (finding, (_, words)) in got.iter().zip(want) {
        let said = format!("{} | {:?}", finding.what, finding.advice);
        assert!(said.contains(words), "wanted {words:?}: {said}");
        assert!(finding.advice.is_some(), "{said}");
    }
}

#[test]
fn a_good_folder_is_ok_and_says_what_others_need() {
    let folder = folder(&Authority::new("Example").unwrap(), |_| ());
    not_ok(&folder, &[]);
    let findings = findings(folder.path());
    let what = |name: &str| {
        let mut all = findings.iter().filter(|finding| finding.name == name);
        let finding = all
            .next()
            .unwrap_or_else(|| panic!("{name}: {findings:#?}"));
        assert!(all.next().is_none(), "{findings:#?}");
        finding.what.as_str()
    };
    assert_eq!(what("ca-cert.pem"), "CN=Example");
    assert!(what("ca-crl.pem").contains("not there"));
    let subject = Credentials::subject("a.example");
    assert_eq!(what("server-cert.pem"), subject);
    assert_eq!(what("client-cert.pem"), format!("--tls-authz '{subject}'"));
    assert_eq!(what("server-cert.pem names"), "a.example");
    assert_eq!(what("server-cert.pem usage"), "for a destination");
    assert_eq!(what("client-cert.pem usage"), "for a source");
    assert!(what("client-cert.pem dates").contains("until 4096-01-01T00:00:00Z"));
    assert!(what("server-cert.pem signature").contains("ca-cert.pem"));
    assert_eq!(what("client-key.pem"), "the key of client-cert.pem");
}

#[test]
fn dates_are_told_apart_from_all_else() {
    let authority = Authority::new("Example").unwrap();
    let until = |year, month| {
        folder(&authority, move |params| {
            params.not_after = rcgen::date_time_ymd(year, month, 1);
        })
    };
    not_ok(
        &until(2025, 1),
        &[
            ("server-cert.pem dates", "expired on 2025-01-01T00:00:00Z"),
            ("client-cert.pem dates", "have a new one signed"),
        ],
    );
    let later = folder(&authority, |params| {
        params.not_before = rcgen::date_time_ymd(2027, 1, 1);
    });
    let words = "not valid before 2027-01-01T00:00:00Z, and it is 2026-01-01T00:00:00Z";
    not_ok(
        &later,
        &[
            ("server-cert.pem dates", words),
            ("client-cert.pem dates", "clock"),
        ],
    );
    // It is of use, and not for long.
    let soon = until(2026, 1);
    not_ok(&until(2026, 2), &[]);
    let soon = findings(soon.path());
    let dates = soon
        .iter()
        .filter(|finding| finding.name.ends_with("cert.pem dates"));
    let told = dates.filter(|finding| finding.advice.is_some()).count();
    assert_eq!(told, 2, "{soon:#?}");
}

#[test]
fn another_authority_with_the_same_name_is_another_one() {
    let folder = folder(&Authority::new("Example").unwrap(), |_| ());
    let other = Authority::new("Example")
        .unwrap()
        .host("b.example")
        .unwrap();
    let file = |folder: &Credentials| folder.path().join("ca-cert.pem");
    fs::copy(file(&other), file(&folder)).unwrap();
    let words = "no authority of ca-cert.pem has signed it";
    not_ok(
        &folder,
        &[
            ("server-cert.pem signature", words),
            ("client-cert.pem signature", words),
        ],
    );
    // A host's certificate signs nothing.
    fs::copy(folder.path().join("server-cert.pem"), file(&folder)).unwrap();
    not_ok(
        &folder,
        &[
            ("ca-cert.pem", "it lacks basicConstraints=CA:TRUE"),
            ("server-cert.pem signature", words),
            ("client-cert.pem signature", words),
        ],
    );
}

#[test]
fn a_certificate_is_for_its_end() {
    let authority = Authority::new("Example").unwrap();
    let clients = folder(&authority, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    not_ok(
        &clients,
        &[("server-cert.pem usage", "extendedKeyUsage=serverAuth")],
    );
    let servers = folder(&authority, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    not_ok(
        &servers,
        &[("client-cert.pem usage", "extendedKeyUsage=clientAuth")],
    );
    // Without a purpose it is for everything.
    not_ok(
        &folder(&authority, |params| params.extended_key_usages.clear()),
        &[],
    );
    let unsigned = folder(&authority, |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    let words = "lacks digitalSignature";
    not_ok(
        &unsigned,
        &[
            ("server-cert.pem usage", words),
            ("client-cert.pem usage", words),
        ],
    );
}

#[test]
fn a_key_is_that_of_its_certificate_and_has_no_password() {
    let folder = folder(&Authority::new("Example").unwrap(), |_| ());
    let path = |name: &str| folder.path().join(name);
    fs::copy(path("client-key.pem"), path("server-key.pem")).unwrap();
    not_ok(
        &folder,
        &[("server-key.pem", "not the key of server-cert.pem")],
    );
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(path("server-key.pem"), locked).unwrap();
    not_ok(&folder, &[("server-key.pem", "openssl pkey")]);
    fs::write(path("server-key.pem"), "no key").unwrap();
    not_ok(&folder, &[("server-key.pem", "no PRIVATE KEY in it")]);
    fs::remove_file(path("server-key.pem")).unwrap();
    not_ok(&folder, &[("server-key.pem", "of no use")]);
}

#[test]
fn a_common_name_alone_does_not_count() {
    let folder = folder(&Authority::new("Example").unwrap(), |params| {
        params.subject_alt_names.clear();
    });
    // Of a source nobody wants a name.
    not_ok(
        &folder,
        &[("server-cert.pem names", "subjectAltName=DNS:a.example")],
    );
    let said = &findings(folder.path());
    let names = said
        .iter()
        .find(|finding| finding.name == "server-cert.pem names");
    assert!(
        names
            .unwrap()
            .what
            .contains("only a common name, a.example")
    );
}

#[test]
fn what_is_not_there_is_missed_by_whom_it_concerns() {
    let authority = Authority::new("Example").unwrap();
    let folder = authority
        .folder("a.example", &[Side::Server], |_| ())
        .unwrap();
    set_mode(&folder, "server-key.pem", 0o640);
    not_ok(&folder, &[("client-cert.pem", "can be no source")]);
    fs::remove_file(folder.path().join("ca-cert.pem")).unwrap();
    not_ok(
        &folder,
        &[
            ("ca-cert.pem", "both ends"),
            ("client-cert.pem", "client-key.pem"),
        ],
    );
    let nothing = tempfile::tempdir().unwrap();
    let all = findings(nothing.path());
    let missing = all
        .iter()
        .filter(|finding| finding.status == Status::Missing);
    assert_eq!(missing.count(), 3, "{all:#?}");
}

#[test]
fn a_certificate_without_extensions_is_told_once() {
    let folder = folder(&Authority::new("Example").unwrap(), |_| ());
    fs::write(folder.path().join("client-cert.pem"), VERSION_1).unwrap();
    not_ok(
        &folder,
        &[("client-cert.pem", "X.509 V1, wanted version 3")],
    );
}

#[test]
fn a_key_that_everybody_may_read_is_told() {
    let folder = folder(&Authority::new("Example").unwrap(), |_| ());
    set_mode(&folder, "client-key.pem", 0o604);
    set_mode(&folder, "ca-cert.pem", 0o666);
    not_ok(
        &folder,
        &[
            ("ca-cert.pem mode", "put something else there"),
            ("client-key.pem mode", "chmod o-r client-key.pem"),
        ],
    );
}

#[test]
fn what_is_revoked_is_told() {
    let authority = Authority::new("Example").unwrap();
    let folder = folder(&authority, |params| {
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let is_server = params.extended_key_usages.contains(&server);
        params.serial_number = Some(SerialNumber::from(if is_server { 7 } else { 8 }));
    });
    let put = |list: String| fs::write(folder.path().join("ca-crl.pem"), list).unwrap();
    put(authority.revoke(7, 2030).unwrap());
    not_ok(&folder, &[("server-cert.pem signature", "revoked")]);
    put(authority.revoke(9, 2021).unwrap());
    not_ok(
        &folder,
        &[("ca-crl.pem", "a newer list was due on 2021-01-01T00:00:00Z")],
    );
    put(Authority::new("Another").unwrap().revoke(9, 2030).unwrap());
    let words = "no list of the authority";
    not_ok(
        &folder,
        &[
            ("server-cert.pem signature", words),
            ("client-cert.pem signature", words),
        ],
    );
    put("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".into());
    not_ok(&folder, &[("ca-crl.pem", "not a revocation list")]);
}

/// As `openssl x509 -req` makes them when it is told of no extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBJTCBywIUcrIt4Y1R2+cZM50dOBPcllpjFygwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyODA2NTYzOVoYDzIxMjYxMTA0MDY1NjM5
WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAT5hxxgXTg49kaFr/22n4Bjs6JKyisY4XttbkdDn3wPGm5+6fAOj01+DeVWFs+q
tKBlTQY/KyaQW+CAXq5ArZGTMAoGCCqGSM49BAMCA0kAMEYCIQCBq15yXC4gsnpI
kgl6ffAqs7gjaAJi2TKetyKSeJsDxAIhAK54DUEfKO3wUxwkrI1gYU6TPXhrqTW2
lZ8G52qJZV0T
-----END CERTIFICATE-----";
