// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMUs as destinations: they refuse a source, or are refused, and wait for the next one.

use std::fs;

use anyhow::{Result, ensure};
use multifd_tests::certificates::{Authority, Credentials, Role};
use multifd_tests::interop::steps::{LIMIT, Link};
use serde_json::json;

use crate::rig::{HOST, content, expired, listen, start, with_each};

/// The exit statuses of a source that was refused, or refuses.
const PEER_OR_CONNECTION: [i32; 2] = [3, 4];

#[test]
fn it_waits_for_a_source_that_it_can_trust() -> Result<()> {
    with_each(|rig| {
        let content = content();
        fs::write(rig.path("source"), &content)?;
        let known = rig.authority.host(HOST)?;
        let mut qemu = start(rig, &known, &content, None)?;
        let address = listen(&mut qemu)?;
        let nobody = rig.authority.folder(HOST, &[], |_| ())?;
        let expired = rig.authority.folder(HOST, &[Role::Client], expired)?;
        let stranger = Authority::new("other")?.host(HOST)?;
        let dirs = [&nobody, &expired, &stranger, &known].map(Credentials::text);
        let [nobody, expired, stranger, dir] = dirs;
        let tls = |dir| vec!["--tls-dir", dir];
        for (args, words) in [
            (tls(&nobody), ""),
            (tls(&expired), ""),
            (
                tls(&stranger),
                "is not signed by an authority of ca-cert.pem",
            ),
            (
                [tls(&dir), vec!["--tls-hostname", "elsewhere.example"]].concat(),
                "wanted elsewhere.example: tls-hostname says which name is wanted",
            ),
            (vec![], "TLS"),
        ] {
            let sent = rig.send(Link::PLAIN, &address, &args)?;
            sent.failed(&PEER_OR_CONNECTION, &[words, "guest: it is here"])?;
            ensure!(qemu.run_state()? == "inmigrate");
        }
        rig.send(Link::PLAIN, &address, &tls(&dir))?.json(0)?;
        qemu.wait_status(&["completed"], LIMIT)?;
        ensure!(
            fs::read(rig.path("theirs"))? == content,
            "other memory arrived"
        );
        Ok(())
    })
}

/// It takes the beginning of TLS for no channel, and ends.
#[test]
fn one_without_tls() -> Result<()> {
    with_each(|rig| {
        let content = content();
        fs::write(rig.path("source"), &content)?;
        let known = rig.authority.host(HOST)?;
        let mut qemu = rig.machine("theirs", &content)?.incoming_defer().start()?;
        rig.prepare(&mut qemu, Link::PLAIN, json!({}))?;
        let address = listen(&mut qemu)?;
        let sent = rig.send(Link::PLAIN, &address, &["--tls-dir", &known.text()])?;
        sent.failed(&[4], &["in the TLS handshake: is TLS on there"])?;
        ensure!(!qemu.wait_exit(LIMIT)?.success());
        ensure!(qemu.stderr().contains("magic"), "{}", qemu.stderr());
        Ok(())
    })
}
