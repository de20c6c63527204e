//! Migrations over TLS.

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::{Authority, Credentials, Role};
use multifd_tests::command::{Finished, Running};

use crate::harness::{Folder, guest, recv, send};

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
            "the peer does not take this side's certificate",
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
        &["tls-creds without tls-hostname", "--tls-hostname NAME"],
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
