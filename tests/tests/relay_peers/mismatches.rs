// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sides that are set up differently, and peers that say nothing.

use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use multifd_tests::interop::steps::Link;
use multifd_tests::peer::Qemu;

use crate::rig::{Rig, assert_runs_on, migrate_fast};

const ZSTD: Link = Link {
    method: "zstd",
    ..Link::PLAIN
};
const FOUR: Link = Link {
    channels: 4,
    ..Link::PLAIN
};

/// What is wrong, and what the relay says of it.
struct Mismatch {
    source: Link,
    destination: Option<Link>,
    args: &'static [&'static str],
    codes: &'static [i32],
    words: &'static [&'static str],
}

const MISMATCHES: [Mismatch; 8] = [
    Mismatch {
        source: ZSTD,
        destination: Some(Link::PLAIN),
        args: &[],
        codes: &[3],
        words: &[
            "relay, source side",
            "compressed with zstd, wanted none",
            "multifd-compression",
        ],
    },
    Mismatch {
        source: Link::PLAIN,
        destination: Some(ZSTD),
        args: &["--time-limit", "3"],
        codes: &[3, 4],
        words: &[
            "relay, destination side",
            "--out multifd-channels, multifd-compression and tls-creds",
        ],
    },
    // Fewer and more channels than the relay wants of its source,
    Mismatch {
        source: Link::PLAIN,
        destination: Some(Link::PLAIN),
        args: &["--in", "multifd-channels=3", "--time-limit", "3"],
        codes: &[4],
        words: &[
            "relay, source side",
            "no SYNC from channel 2",
            "only 2 of 3 channels are connected",
        ],
    },
    Mismatch {
        source: FOUR,
        destination: Some(Link::PLAIN),
        args: &[],
        codes: &[3],
        words: &[
            "relay, source side",
            "2 channels: set multifd-channels to the same number on both sides",
        ],
    },
    Mismatch {
        source: FOUR,
        destination: Some(Link::PLAIN),
        args: &["--keep-listening"],
        codes: &[],
        words: &[
            "relay, source side",
            "2 channels: set multifd-channels to the same number on both sides",
        ],
    },
    // and than the destination wants of the relay.
    Mismatch {
        source: Link::PLAIN,
        destination: Some(FOUR),
        args: &["--time-limit", "3"],
        codes: &[4],
        words: &[
            "relay, destination side",
            "has not answered a PING",
            "multifd-channels 2",
        ],
    },
    Mismatch {
        source: Link::PLAIN,
        destination: Some(Link::PLAIN),
        args: &["--out", "multifd-channels=4", "--time-limit", "3"],
        codes: &[3, 4],
        words: &["relay, destination side"],
    },
    Mismatch {
        source: Link::PLAIN,
        destination: None,
        args: &[],
        codes: &[4],
        words: &[
            "relay, destination side: cannot connect to unix:",
            "or not listen",
        ],
    },
];

/// One guest survives all of them.
#[test]
fn each_mismatch_is_named_and_leaves_the_guest_running() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let mut source = rig.source(Link::PLAIN, None)?;
    for (number, mismatch) in MISMATCHES.iter().enumerate() {
        refuse(&rig, &mut source, mismatch, &format!("to-{number}"))
            .with_context(|| format!("{:?}", mismatch.words))?;
    }
    Link::PLAIN.prepare(&mut source, multifd_tests::interop::Age::Current)?;
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &[])?;
    let mut destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    rig.assert_moved(&mut source, &mut destination)?;
    relay.finish()?.json(0)?;
    Ok(())
}

fn refuse(rig: &Rig, source: &mut Qemu, mismatch: &Mismatch, to: &str) -> Result<()> {
    mismatch
        .source
        .prepare(source, multifd_tests::interop::Age::Current)?;
    let (mut relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri(to), mismatch.args)?;
    let destination = mismatch
        .destination
        .map(|link| rig.destination(link, to, None));
    let _destination = destination.transpose()?;
    migrate_fast(source, &uri)?;
    assert_runs_on(source, "failed")?;
    if mismatch.codes.is_empty() {
        let line = relay.wait_line(": relay, ")?;
        ensure!(line.contains("multifd: migration 1, guest "), "{line}");
        for word in mismatch.words {
            ensure!(line.contains(word), "{line}");
        }
        ensure!(relay.is_running()?);
        return Ok(());
    }
    let ended = relay.finish()?;
    ended.failed(mismatch.codes, mismatch.words)
}

#[test]
fn another_guest_is_refused() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let uuid = "12345678-9abc-def0-1234-56789abcdef0";
    let mut source = rig.source(Link::PLAIN, Some(uuid))?;
    let args = ["--uuid", "12345678-9abc-def0-1234-56789abcdef1"];
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &args)?;
    migrate_fast(&mut source, &uri)?;
    assert_runs_on(&mut source, "failed")?;
    let words = ["relay, source side", "the peer migrates VM 12345678"];
    relay.finish()?.failed(&[3], &words)?;

    // It is the destination that minds.
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &[])?;
    let _destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    assert_runs_on(&mut source, "failed")?;
    relay
        .finish()?
        .failed(&[3, 4], &["relay, destination side"])
}

#[test]
fn a_peer_that_says_nothing_is_no_hindrance() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let args = ["--keep-listening", "--time-limit", "0.5"];
    let (mut relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &args)?;
    let silent = UnixStream::connect(rig.path("relay"))?;
    let mut source = rig.source(Link::PLAIN, None)?;
    let mut destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    rig.assert_moved(&mut source, &mut destination)?;
    relay.wait_line("it said nothing for 0.5 s (1 of no migration so far)")?;
    drop(silent);
    Ok(())
}

/// Nor where only one migration is wanted, of which a silent connection may be a channel.
#[test]
fn a_peer_that_says_nothing_does_not_end_the_only_migration() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &[])?;
    let silent = UnixStream::connect(rig.path("relay"))?;
    let mut source = rig.source(Link::PLAIN, None)?;
    let mut destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    rig.assert_moved(&mut source, &mut destination)?;
    relay.finish()?.ended(&[0], &[])?;
    drop(silent);
    Ok(())
}
