// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who may connect at all.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::Running;

use crate::harness::{Folder, connect_from_elsewhere, guest, recv, relay, run, send};

/// Somebody connects so often, and is refused each time. Says nothing, as who waits for the first word would have
/// to wait for ever.
fn knock(address: &str, count: usize) -> Result<()> {
    for _ in 0..count {
        let mut closed = match address.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path)?.read(&mut [0]),
            None => TcpStream::connect(tcp(address)?)?.read(&mut [0]),
        };
        if let Err(error) = &mut closed {
            ensure!(
                error.kind() == std::io::ErrorKind::ConnectionReset,
                "{error}"
            );
        } else {
            ensure!(closed? == 0);
        }
    }
    Ok(())
}

fn tcp(address: &str) -> Result<&str> {
    address.strip_prefix("tcp:").context("no tcp address")
}

/// The end of a command that has refused `count`, all of them `whom`.
fn refused(running: Running, count: usize, whom: &str) -> Result<()> {
    let finished = running.finish()?;
    finished.json(0)?;
    ensure!(finished.stderr.contains(whom), "{finished:?}");
    let lines = finished.stderr.matches("closed a connection of").count();
    // The first, the second, the fourth and so on.
    ensure!(lines == 1 + count.ilog2() as usize, "{finished:?}");
    Ok(())
}

#[test]
fn a_source_comes_and_strangers_are_closed() -> Result<()> {
    // 127.0.0.1 is seen as ::ffff:127.0.0.1 behind [::].
    for (listen, to) in [
        ("tcp:127.0.0.1:0", "127.0.0.1"),
        ("tcp:[::]:0", "127.0.0.1"),
        ("tcp:[::]:0", "[::1]"),
    ] {
        if listen.contains("[::]") && std::net::TcpListener::bind("[::1]:0").is_err() {
            // No IPv6 here.
            continue;
        }
        let (folder, port) = (Folder::new()?, |address: &str| {
            let port = address.rsplit(':').next().unwrap_or_default();
            format!("tcp:{to}:{port}")
        });
        let source = folder.write("source", &guest(7))?;
        let new = folder.text("new");
        let allow = ["--allow", "127.0.0.0/8", "--allow", "::1"];
        let (receiving, address) = recv(listen, &[&["--ram", &new][..], &allow].concat())?;
        let (relaying, address) = relay(listen, &port(&address), &allow)?;
        send(&port(&address), &["--ram", &source])?.json(0)?;
        relaying.finish()?.json(0)?;
        receiving.finish()?.json(0)?;
        folder.same("source", "new")?;
    }
    Ok(())
}

#[test]
fn who_is_not_allowed_is_closed_before_a_word() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let new = folder.text("new");
    let allow = ["--allow", "127.0.0.1"];
    let elsewhere = |address: &str| -> Result<()> {
        for _ in 0..9 {
            let closed = connect_from_elsewhere(address)?.read(&mut [0]);
            ensure!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        }
        Ok(())
    };
    let (receiving, to) = recv("tcp:127.0.0.1:0", &[&["--ram", &new][..], &allow].concat())?;
    let (relaying, address) = relay("tcp:127.0.0.1:0", &to, &allow)?;
    elsewhere(&to)?;
    elsewhere(&address)?;
    send(&address, &["--ram", &source])?.json(0)?;
    let whom = "127.0.0.2, whom no --allow names (8 refused so far)";
    refused(relaying, 9, whom)?;
    refused(receiving, 9, whom)?;
    folder.same("source", "new")
}

#[test]
fn nobody_who_is_refused_starts_anything() -> Result<()> {
    let folder = Folder::new()?;
    let own = rustix::process::getuid().as_raw();
    let other = (own + 1).to_string();
    for (listen, rule) in [
        ("tcp:127.0.0.1:0", ["--allow", "192.0.2.0/24"]),
        (
            &*format!("unix:{}", folder.text("socket")),
            ["--allow-uid", &other],
        ),
    ] {
        let new = folder.text("new");
        let args = [&["--ram", &new, "--wait", "3"][..], &rule].concat();
        let (receiving, address) = recv(listen, &args)?;
        knock(&address, 20)?;
        let failed = receiving.finish()?;
        let error = failed.json(4)?["error-desc"].to_string();
        ensure!(error.contains("nobody connected to"), "{error}");
        let whom = match rule[0] {
            "--allow" => "20 were refused, the last one 127.0.0.1, whom no --allow names",
            _ => &*format!("20 were refused, the last one user {own}, whom no --allow-uid names"),
        };
        ensure!(error.contains(whom), "{error}\nwanted {whom}");
    }
    Ok(())
}

#[test]
fn a_user_is_allowed_by_number() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let listen = |name: &str| format!("unix:{}", folder.text(name));
    let own = rustix::process::getuid().as_raw().to_string();
    let new = folder.text("new");
    let args = [
        "--ram",
        &new,
        "--allow-uid",
        "4000000000",
        "--allow-uid",
        &own,
    ];
    let (receiving, to) = recv(&listen("receiving"), &args)?;
    let (relaying, address) = relay(&listen("relaying"), &to, &["--allow-uid", &own])?;
    send(&address, &["--ram", &source])?.json(0)?;
    relaying.finish()?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}

#[test]
fn rules_of_the_other_kind_of_address_are_refused() -> Result<()> {
    for (args, words) in [
        (
            "recv --ram x --from unix:/nonexistent/x --allow 192.0.2.1",
            "has no address",
        ),
        (
            "recv --ram x --from tcp:127.0.0.1:0 --allow-uid 0",
            "no user of this host",
        ),
        (
            "relay --to unix:/x --listen unix:/nonexistent/x --allow 192.0.2.1",
            "--allow-uid UID",
        ),
        (
            "relay --to unix:/x --listen tcp:127.0.0.1:0 --allow-uid 0",
            "--allow CIDR",
        ),
        (
            "recv --ram x --from tcp:127.0.0.1:0 --allow 192.0.2.1/24",
            "wanted 192.0.2.0/24 for all of it",
        ),
    ] {
        let args: Vec<_> = args.split(' ').collect();
        run(&args)?.failed(&[2], &[words])?;
    }
    Ok(())
}
