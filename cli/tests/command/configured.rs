// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay with its options in a file.

use std::io::{Read as _, Write as _};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::harness::{Folder, connect_from_elsewhere, guest, recv, run, send, start};

#[test]
fn a_file_says_what_a_relay_does() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let to = format!("unix:{}", folder.text("to"));
    let text = format!(
        "listen = 'tcp:127.0.0.1:0'\nto = '{to}'\njson = true\n[in]\nmultifd-compression = 'zstd'\n\
         [out]\nmultifd-channels = 3\n"
    );
    let config = folder.write("relay.toml", text.as_bytes())?;
    let (receiving, _) = recv(
        &to,
        &["--ram", &folder.text("new"), "--set", "multifd-channels=3"],
    )?;
    let mut relaying = start(&["relay", "--config", &config, "--in", "multifd-channels=1"])?;
    relaying.wait_line(&format!("has options of {config}"))?;
    let address = relaying.wait_address()?;
    let set = [
        "--set",
        "multifd-compression=zstd",
        "--set",
        "multifd-channels=1",
    ];
    send(&address, &[&["--ram", &source], &set[..]].concat())?.json(0)?;
    let result = relaying.finish()?.json(0)?;
    assert_eq!(result["in"]["multifd-compression"], "zstd");
    assert_eq!(result["in"]["multifd-channels"], 1);
    assert_eq!(result["out"]["multifd-channels"], 3);
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}

#[test]
fn a_file_can_be_checked() -> Result<()> {
    let folder = Folder::new()?;
    let check = |text: &str| {
        let config = folder.write("relay.toml", text.as_bytes())?;
        run(&[
            "relay",
            "--check-config",
            "--config",
            &config,
            "--grace",
            "5",
        ])
    };
    let good = "listen = 'unix:/x'\nkeep-listening = true\nto = 'unix:/y'\n";
    let checked = check(good)?;
    ensure!(
        checked.code == Some(0) && checked.stderr.is_empty(),
        "{checked:#?}"
    );
    let lines: Vec<_> = checked.stdout.lines().collect();
    for want in [
        "keep-listening = true",
        "grace = \"5\"",
        "to = \"unix:/y\"",
        "#wait = \"0\"",
    ] {
        ensure!(
            lines.iter().any(|line| line.starts_with(want)),
            "{want}: {lines:#?}"
        );
    }
    for (text, words) in [
        ("to = ''", "relay.toml:1: to: \"\" cannot be used"),
        ("to = 'unix:/y'", "--keep-listening"),
        (
            &format!("{good}allow = '::1'"),
            "name the users that may connect",
        ),
        (&good.replace("/y", "/x"), "it would connect to itself"),
        (
            &format!("{good}in.tls-creds = '/nonexistent'"),
            "/nonexistent/ca-cert.pem",
        ),
    ] {
        let checked = check(text)?;
        ensure!(!checked.stdout.contains("to ="), "{checked:#?}");
        checked.failed(&[2], &[words])?;
    }
    Ok(())
}

#[test]
fn a_file_is_read_again() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let to = format!("unix:{}", folder.text("to"));
    let write = |allow: &str, more: &str| {
        let text = format!(
            "listen = 'tcp:127.0.0.1:0'\nto = '{to}'\njson = true\nkeep-listening = true\nallow = '{allow}'\n{more}\n"
        );
        folder.write("relay.toml", text.as_bytes())
    };
    let config = write("127.0.0.1", "")?;
    let mut relaying = start(&["relay", "--config", &config])?;
    let address = relaying.wait_address()?;
    let stranger = || -> Result<()> {
        let mut stranger = connect_from_elsewhere(&address)?;
        // Whoever is not allowed has been closed already, perhaps.
        let _ = stranger.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let _ = stranger.read(&mut [0]);
        Ok(())
    };
    stranger()?;
    relaying.wait_line("127.0.0.2, whom no --allow names (1 refused so far)")?;

    write("127.0.0.2", "grace = 7\nin = { multifd-channels = 3 }")?;
    relaying.signal(Signal::HUP)?;
    relaying.wait_line("allow: [\"127.0.0.2\"], was [\"127.0.0.1\"]")?;
    relaying.wait_line("grace: \"7\", was \"30\"")?;
    relaying.wait_line("in.multifd-channels: \"3\", was nothing: that needs a restart")?;
    stranger()?;
    relaying.wait_line("127.0.0.2 was closed: it began with")?;
    send(&address, &["--ram", &source])?.failed(&[3, 4], &[])?;
    relaying.wait_line("127.0.0.1, whom no --allow names")?;

    write("127.0.0.3", "listn = 'x'")?;
    relaying.signal(Signal::HUP)?;
    let said = relaying.wait_line("the options and the certificates stay as they were")?;
    ensure!(
        said.contains("relay.toml:6: listn: is not an option of relay, did you mean listen?"),
        "{said}"
    );
    stranger()?;
    relaying.wait_line("127.0.0.2 was closed: it began with")?;

    write("127.0.0.1", "")?;
    relaying.signal(Signal::HUP)?;
    relaying.wait_line("grace: \"30\", was \"7\"")?;
    let (receiving, _) = recv(&to, &["--ram", &folder.text("new")])?;
    send(&address, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}
