// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `tls-authz` compares the same text on both sides.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::{Credentials, Role};
use multifd_tests::interop::steps::{LIMIT, Link};
use multifd_tests::peer::Qemu;
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{DistinguishedName, DnType, DnValue};

use crate::rig::{HOST, Rig, content, listen, start, with_each};

/// One that is allowed, by its text.
#[test]
fn the_right_one() -> Result<()> {
    with_each(|rig| {
        let content = content();
        fs::write(rig.path("source"), &content)?;
        let known = rig.authority.host(HOST)?;
        let subject = Credentials::subject(HOST);
        let mut qemu = start(rig, &known, &content, Some(&subject))?;
        let address = listen(&mut qemu)?;
        let sent = rig.send(Link::PLAIN, &address, &["--tls-dir", &known.text()])?;
        sent.json(0).with_context(|| qemu.stderr())?;
        qemu.wait_status(&["completed"], LIMIT)?;
        Ok(())
    })
}

/// Whatever is in a name, both sides write it alike when they refuse it.
#[test]
fn every_other_one() -> Result<()> {
    with_each(|rig| {
        let content = content();
        fs::write(rig.path("source"), &content)?;
        let known = rig.authority.host(HOST)?;
        let mut qemu = start(rig, &known, &content, Some("CN=another"))?;
        let address = listen(&mut qemu)?;
        let mut names = ["a, b", "#1+\"two\"<3>;\\", " x ", "über"]
            .map(text)
            .to_vec();
        for string in [utf8, printable, ia5, teletex, bmp] {
            names.push(every_attribute(string)?);
        }
        for (count, name) in names.into_iter().enumerate() {
            let ours = rig.authority.folder(HOST, &[Role::Client], |params| {
                params.distinguished_name = name.clone();
            })?;
            let tls = ["--tls-dir", &ours.text()];
            let sent = rig.send(Link::PLAIN, &address, &tls)?;
            sent.failed(&[3, 4], &["guest: it is here"])?;
            let theirs = denied(&qemu, count + 1)?;
            let ours = refused(rig, &known, &tls)?;
            ensure!(ours == theirs, "{ours}\nQEMU: {theirs}");
            ensure!(qemu.run_state()? == "inmigrate");
        }
        Ok(())
    })
}

/// What a QEMU calls the last one of so many different ones that it has refused.
fn denied(qemu: &Qemu, count: usize) -> Result<String> {
    let start = Instant::now();
    loop {
        let text = qemu.stderr();
        let mut names: Vec<_> = text
            .lines()
            .filter_map(|line| {
                line.split_once("authz check for ")?
                    .1
                    .strip_suffix(" is denied")
            })
            .collect();
        names.dedup();
        if let Some(name) = names.get(count - 1) {
            return Ok((*name).to_owned());
        }
        ensure!(start.elapsed() < LIMIT, "no {count} names: {text}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What the command calls one that it refuses.
fn refused(rig: &Rig, credentials: &Credentials, tls: &[&str]) -> Result<String> {
    let args = [
        "--tls-dir",
        &credentials.text(),
        "--tls-authz",
        "CN=another",
    ];
    let (mut receiving, address) = rig.recv(Link::PLAIN, &args)?;
    rig.send(Link::PLAIN, &address, tls)?.failed(&[3, 4], &[])?;
    let line = receiving.wait_line("the peer's certificate is for ")?;
    let quoted = line.split_once("the peer's certificate is for ");
    let quoted = quoted.and_then(|(_, rest)| rest.split_once(", wanted \"CN=another\""));
    let (quoted, _) = quoted.with_context(|| line.clone())?;
    Ok(serde_json::from_str(quoted)?)
}

fn text(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Attributes of all kinds, among them some that have no name.
fn every_attribute(string: fn(&str) -> Result<DnValue>) -> Result<DistinguishedName> {
    let x520 = (3..=20).chain(41..=46).chain([65, 97]);
    let x520 = x520.map(|last| vec![2, 5, 4, last]);
    let others = [
        vec![0, 9, 2342, 19_200_300, 100, 1, 1],
        vec![0, 9, 2342, 19_200_300, 100, 1, 25],
        vec![1, 2, 840, 113_549, 1, 9, 1],
        vec![1, 2, 840, 113_549, 1, 9, 2],
        vec![1, 3, 6, 1, 5, 5, 7, 9, 1],
        vec![1, 3, 6, 1, 5, 5, 7, 9, 4],
        vec![1, 3, 6, 1, 4, 1, 311, 60, 2, 1, 3],
        vec![1, 3, 6, 1, 4, 1, 99_999, 1],
    ];
    let mut subject = DistinguishedName::new();
    for (at, oid) in x520.chain(others).enumerate() {
        subject.push(DnType::CustomDnType(oid), string(&format!("value {at}"))?);
    }
    Ok(subject)
}

fn utf8(value: &str) -> Result<DnValue> {
    Ok(DnValue::Utf8String(value.into()))
}

fn printable(value: &str) -> Result<DnValue> {
    Ok(DnValue::PrintableString(PrintableString::try_from(value)?))
}

fn ia5(value: &str) -> Result<DnValue> {
    Ok(DnValue::Ia5String(Ia5String::try_from(value)?))
}

fn teletex(value: &str) -> Result<DnValue> {
    Ok(DnValue::TeletexString(TeletexString::try_from(value)?))
}

fn bmp(value: &str) -> Result<DnValue> {
    Ok(DnValue::BmpString(BmpString::try_from(value)?))
}
