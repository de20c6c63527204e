// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations over TLS.

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::{Authority, Credentials, Role};
use multifd_tests::command::{Finished, Running};

use multifd_tests::wiretap::Wiretap;

use crate::harness::{Folder, guest, recv, relay, run, send};

/// A destination at 127.0.0.1 and a source at the same host, with these arguments each.
fn migrate(folder: &Folder, recv_args: &[&str], send_args: &[&str]) -> Result<(Finished, Running)> {
    let (source, new) = (folder.write("source", &guest(70))?, folder.text("new"));
    let args = [&["--ram", &new], recv_args].concat();
    let (receiving, to) = recv("tcp:127.0.0.1:0", &args)?;
    let sent = send(&to, &[&["--ram", &source], send_args].concat())?;
    Ok((sent, receiving))
}

#[test]
fn memory_arrives() -> Result<()> {
    let authority = Authority::new("authority")?;
    let (one, other) = (authority.host("127.0.0.1")?, authority.host("127.0.0.1")?);
    let creds = format!("tls-creds={}", other.text());
    let authz = Credentials::subject("127.0.0.1");
    let channels = ["--set", "multifd-channels=16", "--set", "return-path=off"];
    for (recv_args, send_args) in [
        (
            vec!["--tls-dir", &one.text()],
            vec!["--tls-dir", &other.text()],
        ),
        (
            vec!["--tls-dir", &one.text(), "--tls-authz", &authz],
            vec!["--set", &creds, "--tls-hostname", "127.0.0.1"],
        ),
        (
            [&["--tls-dir", &*one.text()], &channels[..2]].concat(),
            [&["--tls-dir", &*other.text()], &channels[..]].concat(),
        ),
    ] {
        let folder = Folder::new()?;
        let (sent, receiving) = migrate(&folder, &recv_args, &send_args)?;
        sent.json(0)?;
        receiving.finish()?.json(0)?;
        folder.same("source", "new")?;
    }
    Ok(())
}

/// The source knows at once that it is not to trust what listens there; the destination goes on listening.
#[test]
fn a_destination_that_cannot_be_trusted() -> Result<()> {
    let authority = Authority::new("authority")?;
    let ours = authority.host("127.0.0.1")?;
    let ours = ours.text();
    let stranger = Authority::new("other")?.host("127.0.0.1")?;
    let elsewhere = authority.host("elsewhere")?;
    let folder = Folder::new()?;
    for (credentials, more, words) in [
        (
            &stranger,
            vec![],
            "not signed by an authority of ca-cert.pem",
        ),
        (
            &elsewhere,
            vec![],
            "wanted 127.0.0.1: tls-hostname says which name is wanted",
        ),
    ] {
        let dir = credentials.text();
        let send_args = [vec!["--tls-dir", &ours], more].concat();
        let (sent, mut receiving) = migrate(&folder, &["--tls-dir", &dir], &send_args)?;
        sent.failed(&[3], &["source: no TLS session with tcp:127.0.0.1:", words])?;
        receiving.wait_line("closed a connection that is not the source's (1 so far)")?;
        ensure!(receiving.is_running()?);
    }
    // The name that is wanted may be another one than that of the address.
    let dir = elsewhere.text();
    let named = ["--tls-dir", &ours, "--tls-hostname", "elsewhere"];
    let (sent, receiving) = migrate(&folder, &["--tls-dir", &dir], &named)?;
    sent.json(0)?;
    receiving.finish()?.json(0)?;
    Ok(())
}

/// The destination closes the connection of a source that it does not want, and goes on listening.
#[test]
fn a_source_that_cannot_be_trusted() -> Result<()> {
    let authority = Authority::new("authority")?;
    let theirs = authority.host("127.0.0.1")?;
    let theirs = theirs.text();
    let nobody = authority.folder("127.0.0.1", &[], |_| ())?;
    let expired = authority.folder("127.0.0.1", &[Role::Client], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    })?;
    let known = authority.host("127.0.0.1")?;
    let folder = Folder::new()?;
    for (credentials, more, here, there) in [
        (
            &nobody,
            vec![],
            "the peer wants a certificate of this side: client-cert.pem",
            "the source has no certificate: it needs client-cert.pem",
        ),
        (
            &expired,
            vec![],
            "the peer says that this side's certificate has expired",
            "the peer's certificate has expired",
        ),
        (
            &known,
            vec!["--tls-authz", "CN=another"],
            "the peer does not accept this side's certificate",
            "wanted \"CN=another\"",
        ),
    ] {
        let dir = credentials.text();
        let recv_args = [vec!["--tls-dir", &theirs], more].concat();
        let (sent, mut receiving) = migrate(&folder, &recv_args, &["--tls-dir", &dir])?;
        sent.failed(&[3, 4], &[here])?;
        receiving.wait_line(there)?;
        ensure!(receiving.is_running()?);
    }
    let args = ["--tls-dir", &theirs, "--tls-verify-peer", "off"];
    let (sent, receiving) = migrate(&folder, &args, &["--tls-dir", &nobody.text()])?;
    sent.json(0)?;
    receiving.finish()?.json(0)?;
    Ok(())
}

#[test]
fn only_one_side_has_it_on() -> Result<()> {
    let credentials = Authority::new("authority")?.host("127.0.0.1")?;
    let tls = ["--tls-dir", &credentials.text()];
    let folder = Folder::new()?;
    let (sent, mut receiving) = migrate(&folder, &tls, &[])?;
    sent.failed(&[3, 4], &["TLS"])?;
    receiving.wait_line("the peer does not speak TLS: is it on at both ends?")?;
    ensure!(receiving.is_running()?);
    drop(receiving);
    let (sent, mut receiving) = migrate(&folder, &[], &tls)?;
    sent.failed(&[4], &["in the TLS handshake: is TLS on there"])?;
    receiving.wait_line("it looks like TLS")?;
    ensure!(receiving.is_running()?);
    Ok(())
}

/// Over a unix socket, which has no name.
#[test]
fn a_socket_has_no_name() -> Result<()> {
    let credentials = Authority::new("authority")?.host("there")?;
    let tls = ["--tls-dir", &credentials.text()];
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(70))?;
    let at = format!("unix:{}", folder.text("socket"));
    let failed = send(&at, &[&["--ram", &source], &tls[..]].concat())?;
    failed.failed(
        &[2],
        &["tls-creds without tls-hostname", "--set tls-hostname=NAME"],
    )?;
    let creds = format!("tls-creds={}", credentials.text());
    let relay = [
        "relay",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        &at,
        "--out",
        &creds,
    ];
    run(&relay)?.failed(
        &[2],
        &["tls-creds without tls-hostname", "--out tls-hostname=NAME"],
    )?;
    let (receiving, to) = recv(&at, &[&["--ram", &folder.text("new")], &tls[..]].concat())?;
    let named = [&["--ram", &source, "--tls-hostname", "there"], &tls[..]].concat();
    send(&to, &named)?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}

/// Those who connect and say nothing delay nobody, and cannot be too many.
#[test]
fn silent_ones_delay_nobody() -> Result<()> {
    let credentials = Authority::new("authority")?.host("127.0.0.1")?;
    let tls = ["--tls-dir", &credentials.text()];
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(70))?;
    let new = folder.text("new");
    let args = [&["--ram", &new], &tls[..]].concat();
    let (receiving, to) = recv("tcp:127.0.0.1:0", &args)?;
    let address = to.strip_prefix("tcp:").context("an address")?;
    let silent: Vec<_> = (0..200)
        .map(|_| std::net::TcpStream::connect(address))
        .collect::<std::io::Result<_>>()?;
    send(&to, &[&["--ram", &source], &tls[..]].concat())?.json(0)?;
    receiving.finish()?.json(0)?;
    drop(silent);
    folder.same("source", "new")
}

/// Two relays encrypt what lies between them: whoever listens there sees nothing of the guest.
#[test]
fn only_the_link_between_two_relays() -> Result<()> {
    let authority = Authority::new("authority")?;
    let (here, there) = (authority.host("127.0.0.1")?, authority.host("127.0.0.1")?);
    for keep_listening in [&[][..], &["--keep-listening"]] {
        let folder = Folder::new()?;
        let memory = guest(700);
        let source = folder.write("source", &memory)?;
        let at = format!("unix:{}", folder.text("in"));
        let (receiving, to) = recv(&at, &["--ram", &folder.text("new")])?;
        let args = ["--in".into(), format!("tls-creds={}", there.text())];
        let authz = format!("tls-authz={}", Credentials::subject("127.0.0.1"));
        let args = [
            &args[0],
            &args[1],
            "--in",
            &authz,
            "--in",
            "multifd-channels=5",
        ];
        let args = [&args[..], keep_listening].concat();
        let (second, between) = relay("tcp:127.0.0.1:0", &to, &args)?;
        let address = between.strip_prefix("tcp:").context("an address")?;
        let silent: Vec<_> = (0..100)
            .map(|_| std::net::TcpStream::connect(address))
            .collect::<std::io::Result<_>>()?;
        let tap = Wiretap::start(&between)?;
        let creds = format!("tls-creds={}", here.text());
        let listen = format!("unix:{}", folder.text("out"));
        let args = ["--out", &creds, "--out", "multifd-channels=5"];
        let (first, address) = relay(&listen, tap.address(), &args)?;
        send(&address, &["--ram", &source])?.json(0)?;
        receiving.finish()?.json(0)?;
        first.finish()?.json(0)?;
        folder.same("source", "new")?;
        if keep_listening.is_empty() {
            second.finish()?.json(0)?;
        }
        drop(silent);
        let heard = tap.heard()?;
        ensure!(heard.len() == 6, "{} connections", heard.len());
        let words = b"of a guest that has something to say";
        for said in &heard {
            ensure!(said.starts_with(&[0x16, 3, 1]), "{:?}", said.get(..4));
            ensure!(said.windows(words.len()).all(|some| some != words));
        }
        let all: usize = heard.iter().map(Vec::len).sum();
        ensure!(all > memory.len() / 7 * 5, "{all} bytes");
    }
    Ok(())
}

/// A source says that a channel ends, and says nothing of the kind on its main connection, as a QEMU does.
#[test]
fn each_channel_ends_with_a_word() -> Result<()> {
    let credentials = Authority::new("authority")?.host("127.0.0.1")?;
    let tls = ["--tls-dir", &credentials.text()];
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(70))?;
    let new = folder.text("new");
    let (receiving, to) = recv("tcp:127.0.0.1:0", &[&["--ram", &new], &tls[..]].concat())?;
    let tap = Wiretap::start(&to)?;
    send(tap.address(), &[&["--ram", &source], &tls[..]].concat())?.json(0)?;
    receiving.finish()?.json(0)?;
    // The last record has two bytes under TLS, of an alert, and 17 that belong to the record.
    let alert = [0x17, 3, 3, 0, 19];
    let has_word = |said: &[u8]| {
        said.rchunks(alert.len() + 19)
            .next()
            .is_some_and(|end| end.starts_with(&alert))
    };
    let heard = tap.heard()?;
    let words: Vec<_> = heard.iter().map(|said| has_word(said)).collect();
    // The main connection is made first.
    ensure!(words == [false, true, true], "{words:?}");
    Ok(())
}

/// A relay that keeps listening names those whom it does not take, and takes the next one.
#[test]
fn a_relay_takes_nobody_whom_it_cannot_trust() -> Result<()> {
    let authority = Authority::new("authority")?;
    let credentials = authority.host("127.0.0.1")?;
    let creds = format!("tls-creds={}", credentials.text());
    let other = Authority::new("other")?.host("127.0.0.1")?;
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(70))?;
    let at = format!("unix:{}", folder.text("in"));
    let (receiving, to) = recv(&at, &["--ram", &folder.text("new")])?;
    let args = ["--keep-listening", "--in", &creds];
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", &to, &args)?;
    let plain = send(&address, &["--ram", &source])?;
    plain.failed(&[3, 4], &["TLS"])?;
    relaying.wait_line("was closed: TLS: the peer does not speak TLS")?;
    let tls = ["--ram", &source, "--tls-dir", &other.text()];
    let refused = send(&address, &tls)?;
    refused.failed(&[3], &["not signed by an authority of ca-cert.pem"])?;
    let tls = ["--ram", &source, "--tls-dir", &credentials.text()];
    send(&address, &tls)?.json(0)?;
    receiving.finish()?.json(0)?;
    ensure!(relaying.is_running()?);
    folder.same("source", "new")
}
