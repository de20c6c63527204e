// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source that goes before the destination confirmed: its guest runs on there, and what a relay still has of the end
//! of the stream must not start it anywhere else.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Result, ensure};
use multifd_core::Side;
use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, SocketTransport, Transport};
use multifd_tests::by_hand::main_stream;
use multifd_tests::network::{self, Link};

use crate::bench::{GO, Setting, failed, relay, relay_with};
use crate::rig::FOREVER;

const WITHDRAWN: &str = "the source ended or cancelled before the destination confirmed";

/// A connection to the source on which a relay is held up behind a call that has received the end of the stream.
struct HeldUp {
    connection: SocketTransport,
    received: Sender<()>,
    go_on: Receiver<()>,
}

impl Transport for HeldUp {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.connection.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let most = room[0].len().min(bytes.len());
        let count = self.connection.recv(&mut [(&mut bytes[..most]).into()])?;
        if bytes[..count] == main_stream::tail() {
            self.received.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        Ok(room[0].copy_from(&bytes[..count]))
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.connection.interrupter()
    }

    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        self.connection.duplicate()
    }

    fn resume(&mut self) {
        self.connection.resume();
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.connection.set_time_limit(limit);
    }

    fn has_ended(&self) -> bool {
        self.connection.has_ended()
    }
}

fn tcp_pair() -> Result<(SocketTransport, SocketTransport)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    let limit = Duration::from_secs(60);
    Ok((
        SocketTransport::tcp(here, limit)?,
        SocketTransport::tcp(there, limit)?,
    ))
}

/// And the connection ahead is reset, so that a second relay knows what this one knows.
#[test]
fn what_was_received_is_dropped() -> Result<()> {
    let (received, has_received) = mpsc::channel();
    let (let_go_on, go_on) = mpsc::channel();
    let (here, there) = tcp_pair()?;
    let setting = Setting {
        incoming: Box::new(|connection| {
            Box::new(HeldUp {
                connection,
                received,
                go_on,
            })
        }),
        onward: (Box::new(here), Box::new(there)),
        ..Setting::new()?
    };
    let result = relay_with(setting, |bench| {
        bench.memory_sent()?;
        bench.source.say(&main_stream::tail())?;
        has_received.recv()?;
        bench.source.main.shutdown(Shutdown::Both)?;
        let_go_on.send(())?;
        let (rest, end) = bench.destination.take_rest();
        ensure!(rest.is_empty(), "{rest:?}");
        let end = end.map_err(|error| error.kind());
        ensure!(end == Err(io::ErrorKind::ConnectionReset), "{end:?}");
        Ok(())
    })?;
    failed(result, Side::RelayIn, WITHDRAWN)
}

/// The same where all has been sent on.
#[test]
fn the_connection_ahead_is_reset() -> Result<()> {
    let (here, there) = tcp_pair()?;
    let setting = Setting {
        onward: (Box::new(here), Box::new(there)),
        ..Setting::new()?
    };
    let result = relay_with(setting, |bench| {
        bench.memory_sent()?;
        bench.source.say(&main_stream::tail())?;
        bench.destination.take_until(&main_stream::tail())?;
        bench.source.main.shutdown(Shutdown::Both)?;
        let (_, end) = bench.destination.take_rest();
        let end = end.map_err(|error| error.kind());
        ensure!(end == Err(io::ErrorKind::ConnectionReset), "{end:?}");
        Ok(())
    })?;
    failed(result, Side::RelayIn, WITHDRAWN)
}

/// It is not waited for until it takes something again.
#[test]
fn a_destination_that_takes_nothing_holds_nobody_up() -> Result<()> {
    let (here, there, taps) = network::pair(Link::default(), Link::default());
    let setting = Setting {
        onward: (Box::new(here), Box::new(there)),
        ..Setting::new()?
    };
    // More than the connection holds, and less than that, the relay and the connection before it.
    let description = [7; 150 << 10];
    let result = relay_with(setting, |bench| {
        bench.memory_sent()?;
        bench.source.say(&main_stream::tail_with(&description))?;
        taps.forth.wait_sender_blocked();
        bench.source.main.shutdown(Shutdown::Both)?;
        // The relay has ended before anything is taken.
        taps.back.wait_receiver_gone();
        let (rest, _) = bench.destination.take_rest();
        ensure!(rest.len() < description.len(), "{} bytes", rest.len());
        Ok(())
    })?;
    failed(result, Side::RelayIn, WITHDRAWN)
}

/// A source that goes behind that word does not run the guest any more.
#[test]
fn the_word_that_gives_the_guest_up_is_passed_on() -> Result<()> {
    let report = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        let go = main_stream::ping(GO);
        bench.source.say(&go)?;
        bench.source.main.shutdown(Shutdown::Both)?;
        bench.destination.take_until(&go)
    })??;
    // The destination has not answered.
    ensure!(!report.confirmed);
    Ok(())
}

#[test]
fn half_of_that_word_is_none() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        let go = main_stream::ping(GO);
        let (first, _) = go.split_at(4);
        bench.source.say(first)?;
        bench.destination.take_until(first)?;
        Ok(bench.source.main.shutdown(Shutdown::Both)?)
    })?;
    failed(
        result,
        Side::RelayIn,
        "closed the main connection before it has given the guest up",
    )
}
