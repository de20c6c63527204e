// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A whole source in front of a relay, and what the destination behind it says.

use std::sync::Arc;

use anyhow::{Context, Result};
use multifd_core::transport::Transport;
use multifd_core::wire::{InitPacket, Uuid};
use multifd_core::{ChannelCount, ChannelId, Error, PageSize};
use multifd_migration::stream::{Command, Event, Incoming, Reader, ReturnMessage};
use multifd_migration::{HostError, Relay, RelayConfig, RelayHost};

use super::Target;
use super::channel::{self, Joined};
use super::limits::limits;
use super::machine::Machine;
use super::messages::all_messages;
use super::packets::packets;
use super::parts::{self, BACK, ON_MAIN, Part, Parts, SETUP};
use super::script::{Order, Piece, Progress, Script, Sent};
use super::text::check_error;
use crate::live::ACCEPT;

/// The main connection and up to four channels of a source, and what the destination says between the pieces of the
/// main connection's.
pub(super) const RELAY: Target = Target {
    name: "relay",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let passed = pass_on(&Parts::of(bytes), &threads);
        threads.join();
        passed.unwrap_or(false)
    },
    seeds,
};

/// Answers whether all of it was passed on.
fn pass_on(parts: &Parts<'_>, threads: &Arc<Joined>) -> Result<bool> {
    let (main, channels) = (parts.bytes(ON_MAIN), parts.channels());
    let [outgoing_method, outgoing] = parts.setup.more;
    let mut config = RelayConfig::default();
    config.forwarder.channels = parts.setup.count();
    config.forwarder.zero_pages = outgoing & 4 == 0;
    config.forwarder.threads = Arc::clone(threads) as _;
    let comes_to_an_end =
        parts::is_complete(&main, &channels, None) && !waits_for_ever(&main, &channels);
    config.forwarder.limits = limits(comes_to_an_end);
    config.wait = Some(config.forwarder.limits.main);
    config.outgoing_channels = ChannelCount::new(1 + outgoing % 4).context("channels")?;
    let count = config.outgoing_channels.count();
    let relay = Relay::new(
        config,
        parts.setup.open_method()?,
        parts::open_method(outgoing_method)?,
    );
    let (source, destination) = both_ends(parts);
    let told = source.sent();
    relay.accept(Box::new(source))?;
    for bytes in &channels {
        // The failure of one before it is told below.
        let _ = relay.accept(Box::new(Script::new(bytes)));
    }
    let mut host = Onward::new(destination, count);
    let sent = host.sent.clone();
    let result = relay.run(&mut host).map_err(Error::from);
    drop(relay);

    let result = result.map(|report| report.confirmed);
    check(
        &result,
        &told,
        &main,
        &sent.first().context("main")?.bytes(),
        parts,
    );
    let onward = sent.iter().skip(1).map(Sent::bytes);
    check_channels(&onward.collect::<Vec<_>>(), result.is_ok());
    Ok(result.is_ok())
}

/// The connection to the source, and the one to the destination: each says a piece once the other one's piece before
/// it has been used up. The source closes its connection when the destination has said everything.
fn both_ends(parts: &Parts<'_>) -> (Script, Script) {
    let (read, over) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
    let (mut main, mut back): (Vec<Piece<'_>>, Vec<Piece<'_>>) = (Vec::new(), Vec::new());
    for (owner, bytes) in parts.pieces() {
        match owner {
            // The destination is listened to once it is known what connection this is.
            ON_MAIN if len(&main) < channel::MAIN.len() => main.push((0, bytes)),
            ON_MAIN => main.push((count(&back), bytes)),
            BACK => back.push((count(&main), bytes)),
            _ => {}
        }
    }
    let source = Order {
        pieces: Some(Arc::clone(&over)),
        tells: Some(Arc::clone(&read)),
        end: Some(Arc::clone(&over)),
        ..Order::default()
    };
    let destination = Order {
        pieces: Some(Arc::clone(&read)),
        end: Some(read),
        tells: Some(over),
        ..Order::default()
    };
    (
        Script::ordered(&main, source),
        Script::ordered(&back, destination),
    )
}

/// How many pieces there are.
fn count(pieces: &[Piece<'_>]) -> u32 {
    u32::try_from(pieces.len()).unwrap_or(Progress::END)
}

fn len(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().map(|(_, bytes)| bytes.len()).sum()
}

/// What both sides were told goes together.
fn check(result: &Result<bool, Error>, told: &Sent, main: &[u8], sent: &[u8], parts: &Parts<'_>) {
    if !main.starts_with(&channel::MAIN) {
        // Another connection is the main one.
        return;
    }
    assert!(main.starts_with(sent), "the main stream was changed");
    let told = all_messages(&told.bytes());
    let said = parts.bytes(BACK);
    let (last, before) = match told.split_last() {
        Some((last, before)) => (Some(*last), before),
        None => (None, &[][..]),
    };
    let encoded = |messages: &[ReturnMessage]| {
        let bytes = messages.iter().flat_map(|message| message.encode());
        bytes.collect::<Vec<_>>()
    };
    // The last one may be the relay's own: that it has failed.
    let is_own = last == Some(ReturnMessage::Shut(1));
    assert!(said.starts_with(&encoded(before)), "{told:?}");
    assert!(is_own || said.starts_with(&encoded(&told)), "{told:?}");
    let is_shut = |message: &ReturnMessage| matches!(message, ReturnMessage::Shut(_));
    let confirmed = told.contains(&ReturnMessage::Shut(0));
    match result {
        Ok(is_confirmed) => {
            assert!(*is_confirmed == confirmed, "{told:?}");
            assert!(
                confirmed || sent == main,
                "a part of the main stream is missing"
            );
        }
        Err(error) => {
            check_error(error);
            // Two sides that hand over have more to say.
            let hands_over = told.contains(&ReturnMessage::Pong(ACCEPT));
            assert!(!confirmed || hands_over, "{error}, and {told:?}");
            // Nothing is refused that was confirmed or refused before.
            let is_own = !said.starts_with(&encoded(&told));
            assert!(!is_own || !before.iter().any(is_shut), "{told:?}");
        }
    }
}

/// What a relay sends are whole packets, but for the last one, and in the end as many barriers on each channel.
fn check_channels(channels: &[Vec<u8>], is_over: bool) {
    let mut syncs = Vec::new();
    for bytes in channels {
        let len: usize = packets(bytes).map(|(_, packet)| packet.len()).sum();
        let rest = bytes.get(multifd_core::wire::INIT_PACKET_LEN + len..);
        assert!(!is_over || rest == Some(&[]), "not a whole packet");
        let count = packets(bytes).filter(|(packet, _)| packet.is_sync).count();
        syncs.push(count);
        assert!(
            bytes
                .first_chunk()
                .is_none_or(|init| InitPacket::decode(init).is_ok())
        );
    }
    let (least, most) = (syncs.iter().min(), syncs.iter().max());
    assert!(!is_over || least == most, "{syncs:?} barriers");
}

/// Whether a channel has device state before the barrier behind which the main stream allows it: it is held back, and
/// a barrier waits for the channel in vain.
fn waits_for_ever(main: &[u8], channels: &[Vec<u8>]) -> bool {
    let reader = Reader::new(Box::new(Script::new(main)), &[]);
    let mut stream = Incoming::new(reader, PageSize::X86);
    let mut barriers = 0;
    let opened = loop {
        match stream.next_event() {
            Ok(Event::Command(Command::SwitchoverStart)) => break Some(barriers),
            Ok(event) => barriers += usize::from(event == Event::Sync),
            Err(_) => break None,
        }
    };
    channels.iter().any(|bytes| {
        let mut packets = packets(bytes).map(|(packet, _)| packet);
        let mut met = 0;
        packets.any(|packet| {
            met += usize::from(packet.is_sync);
            packet.is_device_state && opened.is_none_or(|opened| met < opened)
        })
    })
}

/// The connections to the destination: the main one, and the channels.
struct Onward {
    main: Option<Script>,
    channels: Vec<Script>,
    sent: Vec<Sent>,
}

impl Onward {
    fn new(main: Script, channels: usize) -> Self {
        let channels: Vec<_> = (0..channels).map(|_| Script::new(&[])).collect();
        let sent = std::iter::once(&main).chain(&channels);
        Self {
            sent: sent.map(Script::sent).collect(),
            main: Some(main),
            channels,
        }
    }
}

impl RelayHost for Onward {
    fn connect(
        &mut self,
        _uuid: Uuid,
        channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        let end = match channel {
            None => self.main.take(),
            Some(_) if self.channels.is_empty() => None,
            Some(_) => Some(self.channels.remove(0)),
        };
        Ok(Box::new(end.ok_or("connected twice")?))
    }
}

fn seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (number, machine) in (0..).zip(Machine::all()?) {
        let ends = machine.ends()?;
        let (upto_tail, go) = machine.main.split_at(ends.tail);
        let (ram, tail) = upto_tail.split_at(ends.ram);
        let [pongs, shut, last] = machine.said();
        let more = [number % 6, number % 4];
        let setup = machine.setup(more).bytes();
        let pieces: [Part<'_>; 7] = [
            (SETUP, &setup),
            (ON_MAIN, ram),
            (BACK, &pongs),
            (ON_MAIN, tail),
            (BACK, &shut),
            (ON_MAIN, go),
            (BACK, &last),
        ];
        let pieces = pieces.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        seeds.push(parts::join(pieces.chain(machine.of_channels())));
    }
    Ok(seeds)
}
