// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Certificates that the command makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{SocketTransport, recv_all, send_all};
use multifd_tests::peer;
use multifd_tls::{Client, Server, ServerOptions};
use serde_json::Value;

use crate::harness::{Folder, run};

const FILES: [&str; 5] = [
    "ca-cert.pem",
    "client-cert.pem",
    "client-key.pem",
    "server-cert.pem",
    "server-key.pem",
];

/// Makes folders for two hosts.
fn set_up(folder: &Folder) -> Result<()> {
    let hosts = ["--host", "a.example,192.0.2.1", "--host", "2001:db8::1"];
    let pki = folder.text("pki");
    let args = [&["tls-setup"], &hosts[..], &[&pki]].concat();
    run(&args)?.ended(&[0], &["for a first try"])
}

#[test]
fn the_folders_have_the_files_of_a_qemu() -> Result<()> {
    let folder = Folder::new()?;
    set_up(&folder)?;
    for host in ["a.example", "2001:db8::1"] {
        for file in FILES {
            let path = folder.path("pki").join(host).join(file);
            let mode = fs::metadata(&path).context(file)?.permissions().mode();
            let is_secret = file.contains("key");
            ensure!(!is_secret || mode & 0o777 == 0o600, "{file} {mode:o}");
            ensure!(fs::read_to_string(&path)?.contains("PRIVATE KEY") == is_secret);
        }
    }
    let keys = fs::read_dir(folder.path("pki"))?.count();
    // Two folders and a README: the authority's key is nowhere.
    ensure!(keys == 3, "{keys}");
    let readme = fs::read_to_string(folder.path("pki").join("README"))?;
    for words in ["FOR A FIRST TRY", "a.example, 192.0.2.1", "CN=2001:db8::1"] {
        ensure!(readme.contains(words), "{readme}\nlacks {words}");
    }
    Ok(())
}

#[test]
fn the_doctor_finds_nothing_and_tells_what_is_taken_away() -> Result<()> {
    let folder = Folder::new()?;
    set_up(&folder)?;
    let host = folder.text("pki/a.example");
    let doctor = ["doctor", "--json", "--tls-dir", &host];
    let report = run(&doctor)?.json(0)?;
    let findings = |report: &Value| report["tls"].as_array().cloned().context("no tls");
    let all = findings(&report)?;
    let is_ok = |finding: &Value| finding["status"] == "ok" && finding["advice"].is_null();
    ensure!(
        all.len() >= FILES.len() && all.iter().all(is_ok),
        "{report:#}"
    );
    let what = |name: &str| {
        let finding = all.iter().find(|finding| finding["name"] == name);
        let what = finding.and_then(|finding| finding["what"].as_str());
        what.with_context(|| format!("no {name}: {report:#}"))
    };
    assert_eq!(what("server-cert.pem names")?, "a.example, 192.0.2.1");
    let subject = "--tls-authz 'O=multifd tls-setup,CN=a.example'";
    assert_eq!(what("client-cert.pem")?, subject);
    let pki = folder.path("pki");
    fs::copy(
        pki.join("2001:db8::1/client-key.pem"),
        pki.join("a.example/client-key.pem"),
    )?;
    let report = run(&doctor)?.json(0)?;
    let wrong: Vec<_> = findings(&report)?
        .into_iter()
        .filter(|finding| !is_ok(finding))
        .collect();
    ensure!(
        wrong.len() == 1
            && wrong
                .iter()
                .all(|finding| finding["name"] == "client-key.pem"),
        "{wrong:#?}"
    );
    run(&["doctor", "--tls-dir", &folder.text("nothing")])?.failed(&[2], &["is not a folder"])
}

#[test]
fn nothing_is_overwritten() -> Result<()> {
    let folder = Folder::new()?;
    set_up(&folder)?;
    let key = folder.path("pki").join("a.example/server-key.pem");
    let before = fs::read(&key)?;
    run(&["tls-setup", "--host", "a.example", &folder.text("pki")])?
        .failed(&[2], &["exists, and nothing is overwritten"])?;
    ensure!(fs::read(&key)? == before);
    fs::create_dir(folder.path("empty"))?;
    run(&["tls-setup", "--host", "a", &folder.text("empty")])?.failed(&[2], &["exists"])?;
    run(&["tls-setup", "--host", "a", &folder.text("no/where")])?.failed(&[1], &["cannot make"])?;
    let new = folder.text("new");
    for (hosts, words) in [
        (
            &["--host", "a", "--host", "A,b"][..],
            "--host A is given twice",
        ),
        (&["--host", "../a"], "is not a host name or an address"),
        (&[], "--host"),
    ] {
        run(&[&["tls-setup"], hosts, &[&new]].concat())?.failed(&[2], &[words])?;
    }
    ensure!(!folder.exists("new"));
    Ok(())
}

/// What a handshake comes to, and a word behind it: a client's last word of the handshake may reach a server that is gone.
fn meet(client: &Path, name: &str, server: &Path, subject: &str) -> std::io::Result<()> {
    let mut options = ServerOptions::default();
    options.subject = Some(subject.to_owned());
    let server = Server::from_dir(server, &options)?;
    let client = Client::from_dir(client, name)?;
    let (here, there) = UnixStream::pair()?;
    thread::scope(|scope| {
        let accepted = scope.spawn(move || {
            let there = Box::new(SocketTransport::new(there)?);
            let mut session = server.accept(there, LIMIT)?;
            send_all(&mut *session, &mut [IoVec::from(&b"word"[..])])
        });
        let connected = client.connect(Box::new(SocketTransport::new(here)?), LIMIT);
        let heard = connected.and_then(|mut session| {
            recv_all(&mut *session, &mut [IoVecMut::from(&mut [0; 4][..])])
        });
        let accepted = accepted.join();
        heard?;
        accepted.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn the_hosts_trust_each_other_by_their_names_only() -> Result<()> {
    let (folder, others) = (Folder::new()?, Folder::new()?);
    set_up(&folder)?;
    set_up(&others)?;
    let [a, b] = ["a.example", "2001:db8::1"].map(|host| folder.path("pki").join(host));
    let subject = |name: &str| format!("O=multifd tls-setup,CN={name}");
    for name in ["a.example", "192.0.2.1"] {
        meet(&b, name, &a, &subject("2001:db8::1"))?;
    }
    meet(&a, "2001:db8::1", &b, &subject("a.example"))?;
    for (client, name, subject) in [
        (&b, "b.example", subject("2001:db8::1")),
        (&b, "a.example", subject("a.example")),
        (
            &others.path("pki").join("a.example"),
            "a.example",
            subject("a.example"),
        ),
    ] {
        let met = meet(client, name, &a, &subject);
        ensure!(met.is_err(), "{name} {subject}");
    }
    Ok(())
}

#[test]
fn a_qemu_takes_the_folders() -> Result<()> {
    let folder = Folder::new()?;
    set_up(&folder)?;
    for binary in [peer::require()?, peer::require_old()?]
        .into_iter()
        .flatten()
    {
        for endpoint in ["server", "client"] {
            let dir = folder.path("pki").join("a.example");
            let object = format!(
                "tls-creds-x509,id=tls0,dir={},endpoint={endpoint},sanity-check=on",
                dir.display()
            );
            // It ends at once where it finds fault with a folder.
            let mut qemu = binary.machine().args(["-object", &object]).start()?;
            let status = qemu.run_state().context(qemu.stderr())?;
            ensure!(status == "prelaunch", "{status}");
        }
    }
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(60);
