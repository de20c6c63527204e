// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sources and destinations that do as a test says.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use multifd_core::transport::SocketTransport;
use multifd_core::{GuestMemory, MultifdMethods, PageSize, Sender, SenderConfig};
use multifd_migration::stream::{
    AnnouncedBlock, Command, Configuration, Event, Incoming, Outgoing, RamPart, Reader,
    ReturnMessage, ReturnReader, StreamError, SyncMode, Writer,
};

/// What a source sends as a PING if it can hand a guest over.
pub const OFFER: u32 = u32::from_be_bytes(*b"mfH?");
/// What a destination answers that can, too.
pub const ACCEPT: u32 = u32::from_be_bytes(*b"mfH!");

/// Accepts a source's main connection, and behind it so many channels, of which everything is thrown away.
///
/// # Errors
/// The listener's.
pub fn accept_source(listener: &UnixListener, channels: usize) -> Result<Incoming> {
    let (main, _) = listener.accept()?;
    for _ in 0..channels {
        let (mut channel, _) = listener.accept()?;
        thread::spawn(move || io::copy(&mut channel, &mut io::sink()));
    }
    let main = Box::new(SocketTransport::new(main)?);
    Ok(Incoming::new(Reader::new(main, &[]), PageSize::X86))
}

/// Takes everything before the device state, and answers each PING with a PONG of what `answer` says, if that is
/// something.
///
/// # Errors
/// The connection's.
pub fn take_memory(
    main: &mut Incoming,
    mut answer: impl FnMut(u32) -> Option<u32>,
) -> Result<(), StreamError> {
    loop {
        match main.next_event()? {
            Event::Command(Command::Ping(value)) => {
                if let Some(value) = answer(value) {
                    main.reply(ReturnMessage::Pong(value))?;
                }
            }
            Event::SectionEnd(RamPart::End) => return Ok(()),
            _ => {}
        }
    }
}

/// Sends a guest that stands still to a destination at `path` that hands over, until that has confirmed; then it
/// dies, and the word to run the guest is never said.
///
/// # Errors
/// The connections', and a destination that does anything else.
pub fn send_and_die(
    path: &Path,
    memory: GuestMemory,
    method: &Arc<dyn MultifdMethods>,
    channels: usize,
) -> Result<()> {
    let connect =
        || -> Result<_> { Ok(Box::new(SocketTransport::new(UnixStream::connect(path)?)?)) };
    let main = connect()?;
    let mut answers = ReturnReader::new(Box::new(main.try_clone()?));
    let channels = (0..channels).map(|_| Ok(connect()? as _));
    let channels = channels.collect::<Result<_>>()?;
    let mut sender = Sender::start(&SenderConfig::default(), memory, method, channels)?;
    let mut main = Outgoing::new(Writer::new(main), PageSize::X86, SyncMode::PerRound);
    let configuration = Configuration {
        machine: "none".into(),
        ..Configuration::default()
    };
    main.configuration(&configuration)?;
    main.command(Command::OpenReturnPath)?;
    main.command(Command::Ping(OFFER))?;
    let blocks = sender.memory().blocks().iter();
    let blocks = blocks.map(|block| AnnouncedBlock {
        name: block.name().clone(),
        used_length: block.len(),
    });
    let mut section = main.ram_start(blocks.collect())?;
    section.sync()?;
    section.finish()?;
    main.flush()?;
    sender.sync()?;
    let blocks = sender.memory().indexed();
    let blocks: Vec<_> = blocks.map(|(index, block)| (index, block.len())).collect();
    for (index, len) in blocks {
        sender.queue_run(index, 0, len / PageSize::X86.bytes_u64())?;
    }
    sender.sync()?;
    let mut section = main.ram_end()?;
    section.sync()?;
    section.finish()?;
    main.tail(&[])?;
    main.flush()?;
    for want in [ReturnMessage::Pong(ACCEPT), ReturnMessage::Shut(0)] {
        let got = answers.next_message()?.context("it says nothing more")?;
        ensure!(got == want, "{got:?}, wanted {want:?}");
    }
    Ok(())
}
