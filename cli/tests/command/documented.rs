// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the documents say to type, typed: with the addresses, folders and sizes that a test has.

use std::path::Path;

use anyhow::{Context as _, Result};
use multifd_tests::documents::{Typed, typed};

use crate::harness::{Folder, guest, run, start};

/// The commands of the documents.
struct Documents(Vec<Typed>);

impl Documents {
    fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        typed(&root).map(Self)
    }

    /// The first command of a document that begins with these words and has `option`, with other words in places of
    /// its own.
    fn find(
        &self,
        file: &str,
        command: &str,
        option: &str,
        instead: &[(&str, &str)],
    ) -> Result<Vec<String>> {
        let mut all = self.0.iter().filter(|typed| typed.file == Path::new(file));
        let is_it = |typed: &&Typed| {
            let has = |word: &str| typed.arguments.iter().any(|argument| argument == word);
            typed
                .arguments
                .first()
                .is_some_and(|first| first == command)
                && has(option)
        };
        let typed = all.find(is_it);
        let typed = typed.with_context(|| format!("{file} has no multifd {command} {option}"))?;
        let replaced = typed.arguments.iter().map(|word| {
            let other = instead.iter().find(|(from, _)| from == word);
            other.map_or(word.as_str(), |(_, to)| to).to_owned()
        });
        Ok(replaced.collect())
    }
}

/// Words as arguments.
fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// Credentials as docs/relay.md makes them, for these two hosts.
fn credentials(documents: &Documents, folder: &Folder) -> Result<[String; 2]> {
    let pki = folder.text("pki");
    let setup = documents.find("docs/relay.md", "tls-setup", "--host", &[("pki", &pki)])?;
    run(&words(&setup))?.ended(&[0], &[])?;
    let of_hosts = ["192.0.2.1", "192.0.2.2"].map(|host| format!("{pki}/{host}"));
    for dir in &of_hosts {
        let instead = [("/etc/pki/multifd", dir.as_str())];
        let doctor = documents.find("docs/relay.md", "doctor", "--tls-dir", &instead)?;
        let findings = run(&words(&doctor))?;
        findings.ended(&[0], &[])?;
        assert!(!findings.stdout.contains("unusable"), "{}", findings.stdout);
    }
    Ok(of_hosts)
}

#[test]
fn the_two_sides_in_a_document_fit() -> Result<()> {
    let documents = Documents::read()?;
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(50))?;
    let [client, server] = credentials(&documents, &folder)?;
    for (number, page) in [
        "zlib-compression",
        "zstd-compression",
        "qatzip-compression",
        "qpl-compression",
        "uadk-compression",
        "tls",
    ]
    .into_iter()
    .enumerate()
    {
        let file = format!("docs/{page}.md");
        let new = folder.text(&format!("new{number}"));
        let recv = [
            ("tcp:192.0.2.2:4444", "tcp:127.0.0.1:0"),
            ("/etc/pki/multifd", &server),
            ("FILE", &new),
            ("guest.ram", &new),
        ];
        let mut recv = documents.find(&file, "recv", "--ram", &recv)?;
        // Where it listens is on stderr then.
        recv.push("--json".to_owned());
        let mut receiving = start(&words(&recv))?;
        let to = receiving.wait_address()?;
        let send = [
            ("tcp:192.0.2.2:4444", to.as_str()),
            ("/etc/pki/multifd", &client),
            ("FILE", &source),
            ("guest.ram", &source),
            // No test has a device.
            ("hardware", "software"),
        ];
        let mut send = documents.find(&file, "send", "--ram", &send)?;
        // The address is another one than the certificate's.
        send.extend(["--tls-hostname", "192.0.2.2"].map(String::from));
        run(&words(&send))?.ended(&[0], &[])?;
        receiving.finish()?.ended(&[0], &[])?;
        folder.same("source", &format!("new{number}"))?;
    }
    Ok(())
}

#[test]
fn a_guest_is_kept_as_documented() -> Result<()> {
    let documents = Documents::read()?;
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(50))?;
    let [client, server] = credentials(&documents, &folder)?;
    let (file, kept) = ("docs/saved-migration.md", folder.text("guest"));
    let recv = [
        ("tcp:192.0.2.2:4444", "tcp:127.0.0.1:0"),
        ("/etc/pki/multifd", &server),
        ("guest", &kept),
    ];
    let mut recv = documents.find(file, "recv", "--save", &recv)?;
    recv.push("--json".to_owned());
    let mut receiving = start(&words(&recv))?;
    let to = receiving.wait_address()?;
    let tls = ["--tls-dir", &client, "--tls-hostname", "192.0.2.2"];
    let both = ["--channels", "4", "--compression", "zstd"];
    run(&[&["send", "--to", &to, "--ram", &source], &tls[..], &both].concat())?.ended(&[0], &[])?;
    receiving.finish()?.ended(&[0], &[])?;
    let inspect = documents.find(file, "inspect", "guest", &[("guest", &kept)])?;
    let inspected = run(&words(&inspect))?;
    inspected.ended(&[0], &[])?;
    assert!(
        inspected.stdout.contains("200.00 KiB"),
        "{}",
        inspected.stdout
    );
    // Its source has released it.
    for command in ["release", "drop"] {
        let typed = documents.find(file, command, "guest", &[("guest", &kept)])?;
        run(&words(&typed))?.failed(&[1], &["not "])?;
    }
    Ok(())
}

#[test]
fn what_measures_does_so_as_documented() -> Result<()> {
    let documents = Documents::read()?;
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let small = ["--memory", "1M"];
    let bench = documents.find(
        "docs/zstd-compression.md",
        "bench",
        "--levels",
        &[("FILE", &fill)],
    )?;
    let table = run(&[&words(&bench)[..], &small, &["--runs", "1"]].concat())?;
    table.ended(&[0], &[])?;
    assert_eq!(table.stdout.matches(" yes").count(), 8, "{}", table.stdout);
    let demo = documents.find("README.md", "demo", "demo", &[])?;
    run(&[&words(&demo)[..], &small, &["--fill", &fill]].concat())?.ended(&[0], &[])?;
    let doctor = documents.find("docs/uadk-compression.md", "doctor", "doctor", &[])?;
    run(&words(&doctor))?.ended(&[0], &[])?;
    Ok(())
}
