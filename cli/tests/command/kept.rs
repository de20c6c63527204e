// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest of which everything has come, but not the source's word that it has given it up.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use multifd_tests::command::Finished;

use crate::harness::{Folder, guest, recv, run, send};

/// The exit status of a destination that keeps a guest unreleased.
const KEPT: i32 = 8;

/// A source whose destination's word that everything is there gets lost. Answers how both ended.
fn lose_the_word(source: &str, recv_args: &[&str]) -> Result<(Finished, Finished)> {
    let (receiving, address) = recv("tcp:127.0.0.1:0", recv_args)?;
    let proxy = cut_at_shut(address.trim_start_matches("tcp:"))?;
    let sent = send(&proxy, &["--ram", source])?;
    Ok((sent, receiving.finish()?))
}

#[test]
fn a_kept_folder_is_released_or_dropped() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(700))?;
    let saved = folder.text("saved");
    let (sent, received) = lose_the_word(&source, &["--save", &saved])?;
    // It never gave the guest up.
    sent.failed(&[3, 4], &["guest: it is here, as before"])?;
    received.ended(&[KEPT], &["kept, unreleased", &saved, "multifd release"])?;
    assert_eq!(received.json(KEPT)?["guest"], "kept");
    assert_eq!(folder.names()?, ["saved", "source"]);

    run(&["inspect", &saved])?.ended(&[0], &[])?;
    assert_eq!(
        run(&["inspect", &saved, "--json"])?.json(0)?["unreleased"],
        true
    );
    let load = ["send", "--load", saved.as_str(), "--to", "tcp:127.0.0.1:1"];
    run(&load)?.failed(&[KEPT], &["has not released it", "multifd release"])?;

    run(&["release", &saved])?.ended(&[0], &[])?;
    run(&["release", &saved])?.failed(&[1], &["not a guest waiting to be released"])?;
    run(&["drop", &saved])?.failed(&[1], &["not a guest waiting to be released"])?;
    assert_eq!(
        run(&["inspect", &saved, "--json"])?.json(0)?["unreleased"],
        false
    );
    let (receiving, address) = recv("tcp:127.0.0.1:0", &["--ram", &folder.text("there")])?;
    run(&["send", "--load", &saved, "--to", &address])?.ended(&[0], &[])?;
    receiving.finish()?.ended(&[0], &[])?;
    folder.same("source", "there")?;

    let other = folder.text("other");
    let (_, received) = lose_the_word(&source, &["--save", &other])?;
    received.failed(&[KEPT], &["guest: all of it is kept here"])?;
    run(&["drop", &other])?.ended(&[0], &[])?;
    assert_eq!(folder.names()?, ["saved", "source", "there"]);
    Ok(())
}

#[test]
fn a_kept_file_is_released_or_dropped() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(700))?;
    for (name, command) in [("a", "release"), ("b", "drop")] {
        let file = folder.text(name);
        let (_, received) = lose_the_word(&source, &["--ram", &file])?;
        received.failed(&[KEPT], &["kept, unreleased", &file])?;
        let mark = format!("{name}.unreleased");
        assert!(folder.exists(&mark) && folder.exists(name));
        folder.same("source", name)?;
        let send = ["send", "--ram", file.as_str(), "--to", "tcp:127.0.0.1:1"];
        run(&send)?.failed(&[KEPT], &["multifd release"])?;
        run(&[command, &file])?.ended(&[0], &[])?;
        assert!(!folder.exists(&mark));
        assert_eq!(folder.exists(name), command == "release");
    }
    Ok(())
}

/// Forwards connections to `address`, and closes the main one instead of passing on the destination's SHUT.
fn cut_at_shut(address: &str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = format!("tcp:{}", listener.local_addr()?);
    let address = address.to_owned();
    thread::spawn(move || -> Result<()> {
        for source in listener.incoming().take(3) {
            let (source, destination) = (source?, TcpStream::connect(&address)?);
            let (mut from, mut to) = (source.try_clone()?, destination.try_clone()?);
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            // On the channels nothing comes back.
            thread::spawn(move || pass_back(destination, source));
        }
        Ok(())
    });
    Ok(proxy)
}

/// Passes on what a destination says on its return path, up to its SHUT.
fn pass_back(mut destination: TcpStream, mut source: TcpStream) -> Result<()> {
    loop {
        let mut head = [0; 4];
        destination.read_exact(&mut head)?;
        if head[..2] == SHUT {
            for stream in [&source, &destination] {
                stream.shutdown(Shutdown::Both)?;
            }
            return Ok(());
        }
        let len = u16::from_be_bytes([head[2], head[3]]);
        let mut message = vec![0; usize::from(len)];
        destination.read_exact(&mut message).context("a message")?;
        source.write_all(&[&head[..], &message].concat())?;
    }
}

/// The type of the destination's last message.
const SHUT: [u8; 2] = [0, 1];
