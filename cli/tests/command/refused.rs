// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that fail, and what is left of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;
use multifd_tests::command::Finished;

use crate::harness::{Folder, guest, recv, run, send};

const PEER: i32 = 3;
const CONNECTION: i32 = 4;

/// Migrates a small guest with these arguments; answers how the source and the destination ended.
/// Nothing may be left at the destination.
fn fail(recv_args: &[&str], send_args: &[&str]) -> Result<(Finished, Finished)> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(700))?;
    let destination = folder.text("destination");
    let recv_args = [&["--ram", destination.as_str()], recv_args].concat();
    let send_args = [&["--ram", source.as_str()], send_args].concat();
    let (receiving, address) = recv("tcp:127.0.0.1:0", &recv_args)?;
    let sent = send(&address, &send_args)?;
    let received = receiving.finish()?;
    assert_eq!(folder.names()?, ["source"]);
    Ok((sent, received))
}

#[test]
fn another_method_is_named() -> Result<()> {
    let (sent, received) = fail(&["--set", "multifd-compression=zstd"], &[])?;
    received.failed(
        &[PEER],
        &["packet compressed with none, wanted zstd", "hint: "],
    )?;
    sent.failed(&[PEER, CONNECTION], &["multifd: source", "hint: "])?;
    let report = received.json(PEER)?;
    assert_eq!(report["status"], "failed");
    assert_eq!(report["exit-code"], PEER);
    assert!(
        report["error-desc"]
            .as_str()
            .is_some_and(|text| text.contains("zstd"))
    );
    Ok(())
}

#[test]
fn more_channels_at_the_source_are_named() -> Result<()> {
    let (sent, received) = fail(&[], &["--set", "multifd-channels=4"])?;
    received.failed(&[PEER], &["destination", "multifd-channels"])?;
    sent.failed(&[PEER, CONNECTION], &["multifd: source"])
}

#[test]
fn fewer_channels_at_the_source_are_named() -> Result<()> {
    let limit = ["--time-limit", "0.5"];
    let (sent, received) = fail(&limit, &["--set", "multifd-channels=1"])?;
    received.failed(
        &[CONNECTION],
        &["destination", "channel 1", "multifd-channels"],
    )?;
    sent.failed(&[PEER, CONNECTION], &["multifd: source"])
}

#[test]
fn another_machine_uuid_or_block_is_named() -> Result<()> {
    let machine = ["--machine", "pc-q35-10.0"];
    let (sent, received) = fail(&machine, &[])?;
    received.failed(&[PEER], &["\"none\"", "pc-q35-10.0"])?;
    sent.failed(&[PEER, CONNECTION], &[])?;

    let uuid = ["--uuid", "12345678-1234-1234-1234-123456789abc"];
    let (sent, received) = fail(&uuid, &[])?;
    received.failed(&[PEER], &["12345678-1234", "--uuid"])?;
    sent.failed(&[PEER, CONNECTION], &[])?;

    let folder = Folder::new()?;
    let source = format!("pc.ram={}", folder.write("source", &guest(3))?);
    let (receiving, address) = recv("tcp:127.0.0.1:0", &["--ram", &folder.text("new")])?;
    send(&address, &["--ram", &source])?.failed(&[PEER, CONNECTION], &[])?;
    receiving.finish()?.failed(&[1], &["--ram pc.ram=FILE"])
}

#[test]
fn nobody_listens() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(1))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    for to in [
        format!("tcp:127.0.0.1:{port}"),
        format!("unix:{}", folder.text("no")),
    ] {
        let sent = send(&to, &["--ram", &source])?;
        sent.failed(
            &[CONNECTION],
            &["cannot connect to", &to, "hint: start the destination"],
        )?;
        assert_eq!(sent.json(CONNECTION)?["status"], "failed");
    }
    Ok(())
}

#[test]
fn nobody_comes() -> Result<()> {
    let folder = Folder::new()?;
    let args = ["--ram", &folder.text("new"), "--wait", "0.2"];
    let (receiving, address) = recv("tcp:127.0.0.1:0", &args)?;
    receiving
        .finish()?
        .failed(&[CONNECTION], &["nobody connected", &address])?;
    assert_eq!(folder.names()?, [""; 0]);
    Ok(())
}

#[test]
fn an_address_in_use_is_named() -> Result<()> {
    let folder = Folder::new()?;
    let socket = format!("unix:{}", folder.text("socket"));
    let (first, _) = recv(&socket, &["--ram", &folder.text("new")])?;
    let second = run(&["recv", "--from", &socket, "--ram", &folder.text("other")])?;
    second.failed(&[CONNECTION], &["cannot listen", &socket, "hint: "])?;
    // The socket of a process that was killed is in nobody's way.
    first.signal(rustix::process::Signal::KILL)?;
    first.finish()?;
    assert!(folder.exists("socket"));
    recv(&socket, &["--ram", &folder.text("new")])?;
    Ok(())
}

#[test]
fn a_socket_of_somebody_else_stays() -> Result<()> {
    let folder = Folder::new()?;
    let socket = folder.path("socket");
    let from = format!("unix:{}", folder.text("socket"));
    let (receiving, _) = recv(&from, &["--ram", &folder.text("new")])?;
    std::fs::remove_file(&socket)?;
    let theirs = std::os::unix::net::UnixListener::bind(&socket)?;
    receiving.signal(rustix::process::Signal::TERM)?;
    receiving.finish()?;
    assert!(folder.exists("socket"));
    drop(theirs);
    Ok(())
}

#[test]
fn too_few_open_files_are_named() -> Result<()> {
    let folder = Folder::new()?;
    let ram = folder.text("new");
    let command = format!(
        "ulimit -n 64 && exec {} recv --from tcp:127.0.0.1:0 --ram {ram} --set multifd-channels=200",
        env!("CARGO_BIN_EXE_multifd")
    );
    let ended = std::process::Command::new("sh")
        .args(["-c", &command])
        .output()?;
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(
        text.contains("need 450 open files, the limit is 64"),
        "{text}"
    );
    assert!(text.contains("LimitNOFILE=450"), "{text}");
    Ok(())
}

/// Connects to a command and says something; answers when the connection has been closed.
fn knock(address: &str, bytes: &[u8]) -> Result<()> {
    let mut client = TcpStream::connect(address.trim_start_matches("tcp:"))?;
    client.write_all(bytes)?;
    // Closed with something unread it is reset.
    let _ = client.read(&mut [0]);
    Ok(())
}

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
const TLS: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[test]
fn a_client_of_something_else_is_closed() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let args = ["--ram", &folder.text("new"), "--wait", "60"];
    let (receiving, address) = recv("tcp:127.0.0.1:0", &args)?;
    // A port check, which says nothing.
    TcpStream::connect(address.trim_start_matches("tcp:"))?;
    for bytes in [HTTP, TLS] {
        knock(&address, bytes)?;
    }
    send(&address, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}

#[test]
fn who_waits_in_vain_is_told_who_came() -> Result<()> {
    let folder = Folder::new()?;
    let args = ["--ram", &folder.text("new"), "--wait", "2"];
    let (receiving, address) = recv("tcp:127.0.0.1:0", &args)?;
    knock(&address, HTTP)?;
    knock(&address, TLS)?;
    receiving.finish()?.failed(
        &[CONNECTION],
        &["nobody connected", &address, "2 other connections", "TLS"],
    )?;
    assert_eq!(folder.names()?, [""; 0]);
    Ok(())
}

#[test]
fn a_client_that_says_nothing_is_given_up() -> Result<()> {
    let folder = Folder::new()?;
    let new = folder.text("new");
    let args = ["--ram", &new, "--time-limit", "0.2", "--wait", "60"];
    let (receiving, address) = recv("tcp:127.0.0.1:0", &args)?;
    // Answers when it has been closed.
    knock(&address, b"QEV")?;
    let source = folder.write("source", &guest(7))?;
    send(&address, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}

#[test]
fn a_server_of_something_else_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(700))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = format!("tcp:{}", listener.local_addr()?);
    let server = thread::spawn(move || -> Result<()> {
        for client in listener.incoming().take(3) {
            let mut client = client?;
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            client.shutdown(Shutdown::Write)?;
            // The guest goes nowhere.
            thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        }
        Ok(())
    });
    let sent = send(&to, &["--ram", &source, "--time-limit", "5"])?;
    sent.failed(
        &[PEER],
        &["multifd: source", "return path", "hint: what listens there"],
    )?;
    server.join().map_err(|_| anyhow::anyhow!("the server"))?
}

#[test]
fn a_stream_that_is_cut_leaves_nothing() -> Result<()> {
    for bytes in [0, 3, 50, 200, 10_000, 1_000_000] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(700))?;
        // As long as no connection has said what it is, the source is still to come.
        let (wait, words) = match bytes {
            0..4 => (
                "2",
                ["multifd: destination", "3 other connections were closed"],
            ),
            // Which connection they are of, and so whether one has said it, is chance.
            4..64 => ("2", ["multifd: destination", "guest: it is not here"]),
            _ => ("60", ["multifd: destination", "hint: the source may have"]),
        };
        let new = folder.text("new");
        let (receiving, address) = recv(
            "tcp:127.0.0.1:0",
            &["--ram", &new, "--time-limit", "20", "--wait", wait],
        )?;
        let proxy = cut_after(bytes, address.trim_start_matches("tcp:"))?;
        send(&proxy, &["--ram", &source])?.failed(&[PEER, CONNECTION], &["multifd: source"])?;
        receiving.finish()?.failed(&[CONNECTION], &words)?;
        assert_eq!(folder.names()?, ["source"], "after {bytes} bytes");
    }
    Ok(())
}

/// Forwards connections to `address` until the sources have sent so many bytes on all of them, and
/// closes them then.
fn cut_after(bytes: u64, address: &str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = format!("tcp:{}", listener.local_addr()?);
    let address = address.to_owned();
    let budget = Arc::new(AtomicU64::new(bytes));
    thread::spawn(move || {
        let mut connections = Vec::new();
        for source in listener.incoming().map_while(Result::ok) {
            let Ok(destination) = TcpStream::connect(&address) else {
                return;
            };
            let (Ok(from), Ok(to)) = (source.try_clone(), destination.try_clone()) else {
                return;
            };
            connections.push((source, destination));
            let all: Vec<_> = connections
                .iter()
                .flat_map(|(source, destination)| [source.try_clone(), destination.try_clone()])
                .collect();
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                forward(from, to, &budget);
                for socket in all.into_iter().flatten() {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            });
        }
    });
    Ok(proxy)
}

/// Forwards until the budget is used up or a side has closed.
fn forward(mut from: TcpStream, mut to: TcpStream, budget: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        let spend = |left: u64| Some(left.saturating_sub(got as u64));
        let left = budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .unwrap_or(0);
        let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(got);
        let part = buffer.get(..allowed).unwrap_or_default();
        if to.write_all(part).is_err() || allowed < got {
            return;
        }
    }
}
