// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source's connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use multifd_migration::stream::ReturnMessage;

use super::main_stream as stream;
use super::packet::{self, PAGE, Packet};

/// A source that says what it is told to, and keeps its connections until it is dropped.
#[derive(Debug)]
pub struct Source<S = UnixStream> {
    /// The main connection.
    pub main: S,
    /// The others.
    pub channels: Vec<S>,
}

impl Source {
    /// Connects to a destination or relay, with the main connection first.
    ///
    /// # Errors
    /// The connections'.
    pub fn connect(to: &Path, channels: usize) -> Result<Self> {
        let main = UnixStream::connect(to)?;
        main.set_read_timeout(Some(PATIENCE))?;
        let channels = (0..channels).map(|_| UnixStream::connect(to));
        Self::new(main, channels.collect::<std::io::Result<_>>()?)
    }
}

impl Source<TcpStream> {
    /// The main connection of one that has no channels yet.
    ///
    /// # Errors
    /// The connection's.
    pub fn connect_tcp(to: &str) -> Result<Self> {
        let main = TcpStream::connect(to)?;
        main.set_read_timeout(Some(PATIENCE))?;
        Self::new(main, Vec::new())
    }

    /// Makes the next channel.
    ///
    /// # Errors
    /// The connection's.
    pub fn connect_channel(&mut self, to: &str) -> Result<()> {
        let mut channel = TcpStream::connect(to)?;
        let number = u8::try_from(self.channels.len())?;
        channel.write_all(&packet::init(number))?;
        self.channels.push(channel);
        Ok(())
    }
}

impl<S: Read + Write> Source<S> {
    /// One that says on each channel which it is.
    ///
    /// # Errors
    /// The connections'.
    pub fn new(main: S, channels: Vec<S>) -> Result<Self> {
        let mut source = Self { main, channels };
        for (channel, number) in source.channels.iter_mut().zip(0..) {
            channel.write_all(&packet::init(number))?;
        }
        Ok(source)
    }

    /// Says something on the main connection.
    ///
    /// # Errors
    /// The connection's.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.main.write_all(bytes)?)
    }

    /// Says something on every channel.
    ///
    /// # Errors
    /// The connections'.
    pub fn say_on_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.channels
            .iter_mut()
            .try_for_each(|channel| Ok(channel.write_all(bytes)?))
    }

    /// The main stream up to the first barrier, of a block `ram` of two pages, and `more` behind the return path's opening;
    /// the barrier on the channels.
    ///
    /// # Errors
    /// The connections'.
    pub fn begin(&mut self, more: &[u8]) -> Result<()> {
        self.begin_with(&stream::head(), more)
    }

    /// As [`Self::begin`], where the magic has been said.
    ///
    /// # Errors
    /// The connections'.
    pub fn begin_behind_magic(&mut self) -> Result<()> {
        let head = stream::head();
        self.begin_with(head.get(4..).unwrap_or_default(), &[])
    }

    fn begin_with(&mut self, head: &[u8], more: &[u8]) -> Result<()> {
        let start = stream::ram_start_with(b"ram", 2 * PAGE as u64);
        self.say(&[head, &stream::open_return_path(), more, &start].concat())?;
        self.say_on_all(&packet::sync())
    }

    /// The two pages, and all that is behind them.
    ///
    /// # Errors
    /// The connections'.
    pub fn complete(&mut self) -> Result<()> {
        let pages = Packet::of_pages(&[0, PAGE as u64]).bytes();
        let channel = self.channels.first_mut().context("one channel")?;
        channel.write_all(&pages)?;
        self.say_on_all(&packet::sync())?;
        self.say(&[stream::ram_end(), stream::tail()].concat())
    }

    /// The next message of the destination's; `None` at the end of the connection.
    ///
    /// # Errors
    /// The connection's, and a message that no destination says.
    pub fn next_message(&mut self) -> Result<Option<ReturnMessage>> {
        let mut head = [0; 4];
        if self.main.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        self.main.read_exact(&mut head[1..])?;
        let mut value = [0; 4];
        match head {
            [0, 1, 0, 4] | [0, 2, 0, 4] => self.main.read_exact(&mut value)?,
            [0, 7, 0, 0] => {}
            _ => bail!("a message that begins with {head:?}"),
        }
        let value = u32::from_be_bytes(value);
        Ok(Some(match head {
            [_, 1, ..] => ReturnMessage::Shut(value),
            [_, 2, ..] => ReturnMessage::Pong(value),
            _ => ReturnMessage::SwitchoverAck,
        }))
    }

    /// Waits for this message; others before it are gone.
    ///
    /// # Errors
    /// The connection's, and its end.
    pub fn wait_for(&mut self, message: ReturnMessage) -> Result<()> {
        while let Some(got) = self.next_message()? {
            if got == message {
                return Ok(());
            }
        }
        bail!("the connection ended before {message:?}")
    }
}

/// More than a destination takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
