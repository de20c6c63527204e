// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMUs as sources: their guests run on when they are refused, or refuse.

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::{Authority, Credentials, Role};
use multifd_tests::guest::Counter;
use multifd_tests::interop::steps::Link;
use multifd_tests::peer::Qemu;
use serde_json::json;

use crate::rig::{HOST, Rig, expired, fail_to_send, object, with_each};

/// One attempt that fails.
struct Attempt<'a> {
    /// The QEMU's `tls-creds`.
    creds: &'a str,
    /// What the command is started with.
    recv: Vec<&'a str>,
    /// What the command says.
    said: &'a str,
    /// What the QEMU says.
    qemu_said: &'a str,
}

#[test]
fn a_guest_runs_on() -> Result<()> {
    with_each(|rig| {
        let known = rig.authority.host(HOST)?;
        let nobody = rig.authority.folder(HOST, &[], |_| ())?;
        let expired = rig.authority.folder(HOST, &[Role::Client], expired)?;
        let elsewhere = rig.authority.host("elsewhere.example")?;
        let stranger = Authority::new("other")?.host(HOST)?;
        let all = [
            ("known", &known),
            ("nobody", &nobody),
            ("stranger", &stranger),
            ("expired", &expired),
        ];
        let objects = all.map(|(id, credentials)| object(id, credentials, Role::Client));
        let (mut qemu, _guest) = start_guest(rig, objects.as_flattened())?;
        let dirs = [&known, &elsewhere, &stranger].map(Credentials::text);
        let [known, elsewhere, stranger] = dirs.each_ref().map(|dir| vec!["--tls-dir", dir]);
        let other = [&known[..], &["--tls-authz", "CN=another"]].concat();
        for (creds, recv, said, qemu_said) in [
            (
                "nobody",
                &known,
                "the source has no certificate",
                NO_CERTIFICATE,
            ),
            ("stranger", &known, UNSIGNED, UNKNOWN_ISSUER),
            (
                "expired",
                &known,
                "the peer's certificate has expired",
                ALERT,
            ),
            ("known", &other, "wanted \"CN=another\"", ALERT),
            ("known", &stranger, UNSIGNED, UNKNOWN_ISSUER),
            (
                "known",
                &elsewhere,
                "it ended after 0 bytes",
                "does not match the hostname 127.0.0.1",
            ),
            (
                "known",
                &vec![],
                "it looks like TLS",
                "TLS handshake failed",
            ),
            (
                "",
                &known,
                "the peer does not speak TLS",
                "invalid message 0x1503",
            ),
        ] {
            let recv = recv.clone();
            let attempt = Attempt {
                creds,
                recv,
                said,
                qemu_said,
            };
            refused(rig, &mut qemu, &attempt).with_context(|| format!("{creds:?}, {said:?}"))?;
        }
        Ok(())
    })
}

fn start_guest(rig: &Rig, objects: &[String]) -> Result<(Qemu, Counter)> {
    let counter = Counter::assemble(8 << 20)?;
    let machine = rig.lab.qemu(rig.age).machine().machine_type("pc");
    let mut qemu = machine.boot(&counter).running().args(objects).start()?;
    qemu.wait_passes(2)?;
    Link::PLAIN.prepare(&mut qemu, rig.age)?;
    Ok((qemu, counter))
}

/// The guest runs on, the command goes on listening, and both say why.
fn refused(rig: &Rig, qemu: &mut Qemu, attempt: &Attempt<'_>) -> Result<()> {
    let (mut receiving, address) = rig.recv(Link::PLAIN, &attempt.recv)?;
    qemu.set_parameters(json!({"tls-creds": attempt.creds}))?;
    let reason = fail_to_send(qemu, &address)?;
    ensure!(reason.contains(attempt.qemu_said), "QEMU: {reason}");
    let line = receiving.wait_line("closed a connection")?;
    ensure!(line.contains(attempt.said), "{line}");
    ensure!(receiving.is_running()?);
    let passes = qemu.passes()?.count;
    qemu.wait_passes(passes + 1)?;
    ensure!(qemu.run_state()? == "running");
    Ok(())
}

const UNSIGNED: &str = "signed by an authority of this side's ca-cert.pem";
const UNKNOWN_ISSUER: &str = "The certificate hasn't got a known issuer";
const NO_CERTIFICATE: &str = "";
const ALERT: &str = "";
