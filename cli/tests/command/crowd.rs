// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest comes where many knock who are no source.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multifd_core::wire::{InitPacket, Uuid};
use multifd_migration::stream::ReturnMessage;
use multifd_tests::by_hand::{PAGE, Source, packet};
use rustix::process::Signal;

use crate::flood::{crowd, most_connections};
use crate::harness::{Folder, guest, recv, relay, send};
use crate::strangers::{HTTP, TLS};

/// How many come in all.
const CROWD: usize = 1000;

/// The others, in the order in which they come.
struct Crowd<'a> {
    address: &'a str,
    come: usize,
    /// Those who say too little and stay.
    silent: Vec<TcpStream>,
}

impl Crowd<'_> {
    /// So many come; who is closed for what it says is waited for. One of each kind comes before one claims to be what
    /// is `known`.
    fn come(&mut self, count: usize, known: &[&[u8]]) -> Result<()> {
        for at in 0..count {
            let mut stranger = TcpStream::connect(self.address)?;
            self.come += 1;
            let half = packet::init(0);
            let twice = known.get(at % known.len().max(1));
            let said = match self.come % 8 {
                0 => {
                    self.silent.push(stranger);
                    continue;
                }
                1 => {
                    // Dropped it is reset.
                    rustix::net::sockopt::set_socket_linger(&stranger, Some(Duration::ZERO))?;
                    &[]
                }
                2 => HTTP,
                3 => TLS,
                // These two need not be closed by the other side.
                4 => {
                    stranger.write_all(half.get(..40).context("half of it")?)?;
                    &[]
                }
                5 => &[],
                6 => b"SSH-2.0-OpenSSH\r\n",
                _ => match twice.filter(|_| at >= 8) {
                    Some(twice) => *twice,
                    None => HTTP,
                },
            };
            if !said.is_empty() {
                stranger.write_all(said)?;
                // Closed with something unread it is reset.
                let _ = stranger.read(&mut [0]);
            }
        }
        Ok(())
    }
}

/// A guest of two pages comes over two channels, and others before and between its connections. Answers those who
/// stay.
fn comes_through(address: &str) -> Result<impl Sized> {
    let address = address.trim_start_matches("tcp:");
    let (part, first) = (CROWD.div_ceil(3), packet::init(0));
    let mut crowd = Crowd {
        address,
        come: 0,
        silent: Vec::new(),
    };
    crowd.come(part, &[])?;
    let mut source = Source::connect_tcp(address)?;
    source.say(b"QEVM")?;
    crowd.come(part, &[b"QEVM"])?;
    source.connect_channel(address)?;
    crowd.come(part, &[b"QEVM", &first])?;
    source.connect_channel(address)?;
    source.begin_behind_magic()?;
    source.complete()?;
    source.wait_for(ReturnMessage::Shut(0))?;
    Ok((source, crowd.silent))
}

#[test]
fn a_guest_comes_through_a_crowd() -> Result<()> {
    for is_relayed in [false, true] {
        let folder = Folder::new()?;
        let new = folder.text("new");
        let args = [&["--ram", &new], PATIENT].concat();
        let (receiving, to) = recv("tcp:127.0.0.1:0", &args)?;
        if is_relayed {
            let (relaying, address) = relay("tcp:127.0.0.1:0", &to, PATIENT)?;
            let _stay = comes_through(&address)?;
            relaying.finish()?.json(0)?;
            receiving.finish()?.json(0)?;
        } else {
            let _stay = comes_through(&to)?;
            receiving.finish()?.json(0)?;
        }
        ensure!(std::fs::read(folder.path("new"))? == [0xaa; 2 * PAGE]);
    }
    Ok(())
}

/// Others who have said so much that they may be guests, and hold their connections: heads of main streams, and channels of
/// many guests. Twice as many as may be there at once with `MULTIFD_CROWD=10000`.
#[test]
fn a_guest_comes_beside_what_may_be_guests() -> Result<()> {
    let folder = Folder::new()?;
    let to = format!("unix:{}", folder.text("{uuid}"));
    let (relaying, address) = relay("tcp:127.0.0.1:0", &to, &["--keep-listening"])?;
    let listens = address.trim_start_matches("tcp:");
    let mut held = VecDeque::new();
    let most = most_connections()?;
    for number in 0..crowd()? {
        let mut other = TcpStream::connect(listens)?;
        let uuid = Uuid(u128::try_from(number)?.to_be_bytes());
        let said = match number % 2 {
            0 => HEAD.to_vec(),
            _ => InitPacket { uuid, channel: 0 }.encode().to_vec(),
        };
        // It may have given way already.
        let _ = other.write_all(&said);
        held.push_back(other);
        if held.len() > most {
            held.pop_front();
        }
    }
    let source = folder.write("source", &guest(70))?;
    let uuid = "01010101-0101-0101-0101-010101010101";
    let from = format!("unix:{}", folder.text(uuid));
    let new = folder.text("new");
    let (receiving, _) = recv(&from, &["--ram", &new, "--uuid", uuid])?;
    let sent = send(&address, &["--ram", &source, "--uuid", uuid])?;
    sent.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")?;
    relaying.signal(Signal::TERM)?;
    ensure!(relaying.finish()?.code == Some(0));
    Ok(())
}

/// While the others come the source is silent, which takes as long as the machine takes.
const PATIENT: &[&str] = &["--time-limit", "600"];
/// The start of a main stream, which says that all channels are there.
const HEAD: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x02pc\x01";
