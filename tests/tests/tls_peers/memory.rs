// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory arrives, in both directions, whatever the method, the channels and the certificates.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::{Authority, Credentials, Role};
use multifd_tests::interop::steps::{LIMIT, Link};
use serde_json::json;

use crate::rig::{HOST, Rig, assert_arrived, content, creds, listen, with_each};

/// Every method with every number of channels, both with a source that has a certificate and with one that has none.
fn cases() -> impl Iterator<Item = (Link, bool)> {
    ["none", "zstd"].into_iter().flat_map(|method| {
        [(1, true), (2, false), (16, true)].map(|(channels, verify)| {
            let link = Link {
                method,
                channels,
                ..Link::PLAIN
            };
            (link, verify)
        })
    })
}

#[test]
fn from_a_qemu() -> Result<()> {
    with_each(|rig| {
        cases().try_for_each(|(link, verify)| {
            receive(rig, link, verify).with_context(|| format!("{link:?}, {verify}"))
        })
    })
}

#[test]
fn to_a_qemu() -> Result<()> {
    with_each(|rig| {
        cases().try_for_each(|(link, verify)| {
            send(rig, link, verify).with_context(|| format!("{link:?}, {verify}"))
        })
    })
}

/// Another kind of key than that of the other tests.
#[test]
fn a_longer_key() -> Result<()> {
    with_each(|rig| {
        let mut rig = Rig::new(rig.lab.clone(), rig.age)?;
        rig.authority = Authority::with_keys("authority", &rcgen::PKCS_ECDSA_P384_SHA384)?;
        receive(&rig, Link::PLAIN, true)?;
        send(&rig, Link::PLAIN, true)
    })
}

/// The client's side has a certificate if the server's is to `verify` it.
fn client(rig: &Rig, verify: bool) -> Result<Credentials> {
    match verify {
        true => rig.authority.host(HOST),
        false => rig.authority.folder(HOST, &[], |_| ()),
    }
}

fn receive(rig: &Rig, link: Link, verify: bool) -> Result<()> {
    let content = content();
    let (ours, theirs) = (rig.authority.host(HOST)?, client(rig, verify)?);
    let switch = if verify { "on" } else { "off" };
    let args = ["--tls-dir", &ours.text(), "--tls-verify-peer", switch];
    let (receiving, address) = rig.recv(link, &args)?;
    let object = theirs.object(Role::Client, true);
    let machine = rig.machine("source", &content)?.args(["-object", &object]);
    let mut qemu = machine.start()?;
    rig.prepare(&mut qemu, link, creds("tls0"))?;
    qemu.migrate(&address)?;
    qemu.wait_status(&["completed"], LIMIT)?;
    receiving.finish()?.json(0)?;
    assert_arrived(rig, &content)
}

fn send(rig: &Rig, link: Link, verify: bool) -> Result<()> {
    let content = content();
    let (ours, theirs) = (client(rig, verify)?, rig.authority.host(HOST)?);
    fs::write(rig.path("source"), &content)?;
    let object = theirs.object(Role::Server, verify);
    let machine = rig.machine("theirs", &vec![0; content.len()])?;
    let mut qemu = machine
        .incoming_defer()
        .args(["-object", &object])
        .start()?;
    rig.prepare(&mut qemu, link, creds("tls0"))?;
    let address = listen(&mut qemu)?;
    rig.send(link, &address, &["--tls-dir", &ours.text()])?
        .json(0)?;
    qemu.wait_status(&["completed"], LIMIT)?;
    ensure!(
        fs::read(rig.path("theirs"))? == content,
        "other memory arrived"
    );
    // It has nothing to complain of.
    let stderr = qemu.stderr();
    let mut complaints = stderr.lines().filter(|line| !line.contains("deprecated"));
    ensure!(complaints.next().is_none(), "{stderr}");
    qemu.execute("query-status", json!({}))?;
    Ok(())
}
