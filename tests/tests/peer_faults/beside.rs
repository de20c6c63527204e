// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a fault does to a migration beside it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use multifd_migration::stream::ReturnMessage;
use multifd_tests::by_hand::{self, main_stream as stream};
use multifd_tests::command::Multifd;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::play::{LIMIT, Source, peak};
use super::row::{Kind, Row};

/// A guest is on its way through a relay, and in the middle of its memory, while every source of the table comes to the
/// same relay, several at once; then it arrives, and so does one that comes later.
#[test]
fn no_fault_hurts_another_migration() -> Result<()> {
    let multifd = Multifd::build()?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("out");
    listen(&socket)?;
    let to = format!("unix:{}", socket.display());
    let mut relay = multifd.start([
        "relay",
        "--keep-listening",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        &to,
        "--time-limit",
        LIMIT,
        "--json",
        "--quiet",
    ])?;
    let address = relay.wait_address()?;
    let address = address.trim_start_matches("tcp:");
    let mut guest = begun(address)?;
    let rows: Vec<Row> = super::rows().into_iter().filter(fails_here).collect();
    let numbered: Vec<_> = rows.iter().zip(2..).collect();
    let to_relay: SocketAddrV4 = address.parse()?;
    super::each(
        &numbered,
        |(row, _)| row.name.to_owned(),
        |(row, host)| {
            // Those of one host are taken for those of one source.
            let from = Ipv4Addr::new(127, 0, 1, *host);
            let mut source = Source::new(|| connect_from(from, to_relay));
            row.steps.iter().try_for_each(|step| source.take(step))?;
            source.wait_main()
        },
    )?;
    for guest in [&mut guest, &mut begun(address)?] {
        guest.complete()?;
        guest.wait_for(ReturnMessage::Shut(0))?;
    }
    let memory = peak(relay.id())?;
    ensure!(relay.is_running()?, "{:#?}", relay.finish()?);
    ensure!(memory <= 96, "it took {memory} MiB of memory");
    Ok(())
}

/// Whether a source meets its end at the relay: what only a destination refuses, this one takes.
fn fails_here(row: &Row) -> bool {
    let end = row.end(Kind::Relay).filter(|_| row.method == "none");
    end.is_some_and(|end| !end.says.contains("the destination could not take"))
}

/// A guest of which the first barrier is over.
fn begun(address: &str) -> Result<by_hand::Source<TcpStream>> {
    let mut source = by_hand::Source::connect_tcp(address)?;
    for _ in 0..2 {
        source.connect_channel(address)?;
    }
    source.begin(&stream::ping(7))?;
    source.wait_for(ReturnMessage::Pong(7))?;
    Ok(source)
}

/// A connection from an address of this host.
fn connect_from(from: Ipv4Addr, to: SocketAddrV4) -> std::io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// A destination that takes whatever comes, answers each PING, and has the guest when its last byte is there. It ends with
/// the test's process.
fn listen(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A relay that gives a migration up closes it.
            thread::spawn(move || serve(client).ok());
        }
    });
    Ok(())
}

fn serve(mut client: UnixStream) -> Result<()> {
    let (mut taken, mut answered, mut room) = (Vec::new(), 0, [0; 4096]);
    let ping = stream::ping(0);
    let (head, value) = ping.split_at(5);
    loop {
        let got = client.read(&mut room)?;
        if got == 0 {
            return Ok(());
        }
        taken.extend(room.get(..got).context("more than there is room for")?);
        if !taken.starts_with(b"QEVM") {
            taken.clear();
            continue;
        }
        while let Some(rest) = taken
            .get(answered..)
            .filter(|rest| rest.len() >= ping.len())
        {
            if let Some(rest) = rest.strip_prefix(head) {
                let pong = rest.get(..value.len()).context("a value")?;
                client.write_all(&[&[0, 2, 0, 4], pong].concat())?;
            }
            answered += 1;
        }
        if taken.ends_with(&stream::tail()) {
            client.write_all(&[0, 1, 0, 4, 0, 0, 0, 0])?;
        }
    }
}
