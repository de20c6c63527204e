// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests of one host that go through one relay at the same time, their connections in any order.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow, ensure};
use multifd_core::wire::Uuid;
use multifd_tests::streams::{Connections, Destination, Random, Stream, channel, memory};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, connect_from_elsewhere, guest, relay};

const CHANNELS: u8 = 2;
/// So many guests begin together.
const GUESTS: usize = 2;
/// So many times two guests begin together at once, too.
const BESIDE: usize = 4;
/// What became of so many is waited for before others begin: a relay tells of 256 refused sources in a while.
const ROUND: usize = 20;

/// One guest, its source and its destination.
struct Guest {
    stream: Stream,
    sent: Connections,
    /// The main connection, then channels.
    connected: Vec<TcpStream>,
    /// The numbers of the channels, in the order in which they are made.
    order: Vec<u8>,
    taking: JoinHandle<Result<Connections>>,
    socket: PathBuf,
}

impl Guest {
    fn new(folder: &Path, seed: u64, number: u8, is_named: bool) -> Result<Self> {
        let mut uuid = [number; 16];
        for (at, byte) in uuid.iter_mut().zip(seed.to_be_bytes()) {
            *at = byte;
        }
        let mut content = guest(8);
        content.splice(..uuid.len(), uuid);
        let stream = Stream {
            machine: format!("machine-{seed}-{number}").into_bytes(),
            uuid,
            validate_uuid: is_named,
            ..Stream::plain(content)
        };
        let socket = folder.join(Uuid(uuid).to_string());
        let destination = Destination::bind(&socket)?;
        Ok(Self {
            sent: Connections {
                main: stream.main(),
                channels: (0..CHANNELS)
                    .map(|id| channel(&stream, id, CHANNELS))
                    .collect(),
            },
            stream,
            connected: Vec::new(),
            order: match Random::new(seed).below(2) {
                0 => (0..CHANNELS).collect(),
                _ => (0..CHANNELS).rev().collect(),
            },
            taking: thread::spawn(move || destination.take(CHANNELS.into())),
            socket,
        })
    }

    fn is_connected(&self) -> bool {
        self.connected.len() == 1 + usize::from(CHANNELS)
    }

    /// Sends everything, each connection from a thread of its own.
    fn send(&mut self) -> Vec<JoinHandle<()>> {
        let channels = self
            .order
            .iter()
            .filter_map(|id| self.sent.channels.get(usize::from(*id)));
        let all = [&self.sent.main].into_iter().chain(channels).cloned();
        let connected = std::mem::take(&mut self.connected);
        let senders = connected
            .into_iter()
            .zip(all)
            .map(|(mut connection, bytes)| {
                // What is refused is told by the relay.
                thread::spawn(move || connection.write_all(&bytes).unwrap_or_default())
            });
        senders.collect()
    }

    /// What has become of it: true if all of it has arrived, false if nothing.
    fn end(self) -> Result<bool> {
        // A destination that nobody has connected to waits for connections.
        let _strays: Vec<_> = (0..=CHANNELS)
            .map(|_| UnixStream::connect(&self.socket))
            .collect();
        drop(_strays);
        let got = self
            .taking
            .join()
            .map_err(|_| anyhow!("the destination panicked"))?;
        let Ok(got) = got else {
            return Ok(false);
        };
        ensure!(
            got.main == self.sent.main,
            "another guest's main connection"
        );
        let block = self.stream.blocks.first().context("no memory")?;
        let want = BTreeMap::from([(block.name.clone(), block.content.clone())]);
        ensure!(
            memory(&self.stream, &got.channels)? == want,
            "another guest's memory"
        );
        Ok(true)
    }
}

/// Lets guests begin together, each connection in an order that `seed` decides.
fn begin_together(address: &str, guests: &mut [Guest], seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut senders = Vec::new();
    let mut open: Vec<usize> = (0..guests.len()).collect();
    let mut strays = Vec::new();
    while !open.is_empty() {
        if random.below(6) == 0 {
            strays.push(TcpStream::connect(address)?);
        }
        let at = random.below(open.len());
        let guest = open.get(at).and_then(|at| guests.get_mut(*at));
        let guest = guest.context("it is open")?;
        if guest.is_connected() {
            senders.extend(guest.send());
            open.swap_remove(at);
        } else {
            guest.connected.push(TcpStream::connect(address)?);
        }
    }
    for sender in senders {
        sender.join().map_err(|_| anyhow!("a source panicked"))?;
    }
    Ok(())
}

/// How often guests begin together.
fn seeds() -> Result<u64> {
    let seeds = std::env::var("MULTIFD_SEEDS").unwrap_or_else(|_| "20".to_owned());
    seeds.parse().context("MULTIFD_SEEDS is a number")
}

/// Lets guests begin, two and two, as `seeds` say, several times at once.
fn play(address: &str, folder: &Path, seeds: &Range<u64>, is_named: bool) -> Result<Vec<Guest>> {
    thread::scope(|scope| {
        let players = (0..BESIDE).map(|at| {
            scope.spawn(move || {
                let mut all = Vec::new();
                for seed in seeds.clone().skip(at).step_by(BESIDE) {
                    let guests = (1..)
                        .take(GUESTS)
                        .map(|number| Guest::new(folder, seed, number, is_named));
                    let mut guests = guests.collect::<Result<Vec<_>>>()?;
                    begin_together(address, &mut guests, seed)?;
                    all.extend(guests);
                }
                Ok::<_, anyhow::Error>(all)
            })
        });
        let players: Vec<_> = players.collect();
        let mut all = Vec::new();
        for player in players {
            all.extend(player.join().map_err(|_| anyhow!("a player panicked"))??);
        }
        Ok(all)
    })
}

/// Sends guests through one relay, two and two, and one behind them; answers how many of the others arrive, of how
/// many, and what the relay says.
fn send_all(is_named: bool, limit: &str) -> Result<(u64, u64, Vec<Value>)> {
    let folder = Folder::new()?;
    let to = format!("unix:{}", folder.text("{uuid}"));
    let args = ["--keep-listening", "--time-limit", limit];
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", &to, &args)?;
    let address = address.trim_start_matches("tcp:");
    let (mut all, mut results) = (Vec::new(), Vec::new());
    for first in (0..seeds()?).step_by(ROUND) {
        let seeds = first..seeds()?.min(first + ROUND as u64);
        let guests = play(address, folder.root(), &seeds, is_named)?;
        for _ in &guests {
            results.push(serde_json::from_str(&relaying.wait_result()?)?);
        }
        all.extend(guests);
    }
    let mut alone = Guest::new(folder.root(), u64::MAX, 0, is_named)?;
    begin_together(address, std::slice::from_mut(&mut alone), 0)?;
    results.push(serde_json::from_str(&relaying.wait_result()?)?);
    ensure!(alone.end()?, "the last one, which was alone: {results:#?}");
    let count = all.len() as u64;
    let mut arrived = 0;
    let mut uuids = Vec::new();
    for guest in all {
        uuids.push(Uuid(guest.stream.uuid).to_string());
        arrived += u64::from(guest.end()?);
    }
    relaying.signal(Signal::TERM)?;
    let ended = relaying.finish()?;
    ensure!(
        ended.stdout.lines().count() == results.len(),
        "{}",
        ended.stdout
    );
    for uuid in uuids {
        ensure!(
            ended.stderr.contains(&uuid),
            "not a word of {uuid}: {}",
            ended.stderr
        );
    }
    Ok((arrived, count, results))
}

#[test]
fn guests_that_are_named_all_arrive() -> Result<()> {
    let (arrived, count, results) = send_all(true, "30")?;
    assert_eq!(arrived, count, "{results:#?}");
    ensure!(
        results.iter().all(|result| result["status"] == "completed"),
        "{results:#?}"
    );
    Ok(())
}

#[test]
fn others_arrive_or_are_refused_by_name() -> Result<()> {
    let (arrived, _, results) = send_all(false, "3")?;
    let completed = results
        .iter()
        .filter(|result| result["status"] == "completed");
    assert_eq!(completed.count() as u64, 1 + arrived, "{results:#?}");
    Ok(())
}

/// Somebody else claims to be the same guest, before it comes and while it is there.
#[test]
fn nobody_else_takes_the_place_of_a_guest() -> Result<()> {
    let folder = Folder::new()?;
    let to = format!("unix:{}", folder.text("{uuid}"));
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", &to, &["--keep-listening"])?;
    let listens = address.trim_start_matches("tcp:");
    for (seed, (is_named, is_main)) in
        (0..).zip([(true, true), (true, false), (false, true), (false, false)])
    {
        let mut guest = Guest::new(folder.root(), seed, 1, is_named)?;
        let other = Guest::new(folder.root(), seed, 2, true)?;
        let claims = match is_main {
            true => vec![guest.stream.main()],
            false => (0..CHANNELS)
                .map(|id| {
                    let stream = Stream {
                        uuid: guest.stream.uuid,
                        ..other.stream.clone()
                    };
                    channel(&stream, id, CHANNELS)
                })
                .collect(),
        };
        let mut held = Vec::new();
        for claim in &claims {
            let mut claimant = connect_from_elsewhere(&address)?;
            claimant.write_all(claim)?;
            held.push(claimant);
        }
        begin_together(listens, std::slice::from_mut(&mut guest), seed)?;
        let result: Value = serde_json::from_str(&relaying.wait_result()?)?;
        ensure!(
            result["status"] == "completed" && result["peer"] == "127.0.0.1",
            "{result:#}"
        );
        ensure!(guest.end()?, "the guest has not arrived");
        other.end().map(drop)?;
    }
    Ok(())
}
