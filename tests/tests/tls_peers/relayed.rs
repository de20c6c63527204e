// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From one QEMU to another one, with two relays and TLS between them.

use anyhow::{Context as _, Result, ensure};
use multifd_tests::guest::Counter;
use multifd_tests::interop::steps::{self, LIMIT, Link};
use multifd_tests::wiretap::Wiretap;

use crate::rig::{HOST, with_each};

#[test]
fn nobody_between_them_sees_a_page() -> Result<()> {
    with_each(|rig| {
        let counter = Counter::assemble(8 << 20)?;
        let (to, from) = (rig.path("to"), rig.path("from"));
        let (to, from) = (
            format!("unix:{}", to.display()),
            format!("unix:{}", from.display()),
        );
        let mut destination = steps::start_destination(&rig.lab, rig.age, "pc", &counter, None)?;
        Link::PLAIN.prepare(&mut destination, rig.age)?;
        destination.migrate_incoming(&to)?;
        let mut source = steps::start_guest(&rig.lab, rig.age, "pc", &counter, None)?;
        Link::PLAIN.prepare(&mut source, rig.age)?;

        let zstd = Link {
            method: "zstd",
            channels: 4,
            ..Link::PLAIN
        };
        let (here, there) = (rig.authority.host(HOST)?, rig.authority.host(HOST)?);
        let creds = format!("tls-creds={}", there.text());
        let addresses = ("tcp:127.0.0.1:0", &*to);
        let more = ["--in", &creds];
        let (second, between) =
            steps::start_relay(&rig.lab, addresses, (zstd, Link::PLAIN), &more)?;
        let tap = Wiretap::start(&between)?;
        let creds = format!("tls-creds={}", here.text());
        let more = ["--out", &creds];
        let addresses = (&*from, tap.address());
        let (first, listening) =
            steps::start_relay(&rig.lab, addresses, (Link::PLAIN, zstd), &more)?;

        steps::migrate_live(&mut source, &listening)?;
        source.wait_status(&["completed"], LIMIT)?;
        destination.wait_status(&["completed"], LIMIT)?;
        let before = source.passes()?;
        steps::check_guest_goes_on(&before, &mut destination, &counter)?;
        first.finish()?.json(0)?;
        second.finish()?.json(0)?;

        let heard = tap.heard()?;
        ensure!(heard.len() == 5, "{} connections", heard.len());
        // What pages of this guest hold, and what the main stream says of them.
        let page = destination.physical_memory(counter.range())?;
        let words = page.get(4096..4096 + 16).context("a page")?;
        for said in &heard {
            ensure!(said.starts_with(&[0x16, 3, 1]), "{:?}", said.get(..4));
            for secret in [words, b"pc.ram", b"serial"] {
                ensure!(said.windows(secret.len()).all(|some| some != secret));
            }
        }
        Ok(())
    })
}
