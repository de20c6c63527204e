// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the seeds of the larger targets are made of: whole migrations.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use migration_params::ZeroPageDetection;
use multifd_core::transport::Transport;
use multifd_core::{ChannelCount, DeviceState, PageSize};
use multifd_migration::stream::{
    DeviceSection, EarlyPlace, EarlySection, Event, Incoming, RamPart, Reader, ReturnMessage,
    SectionHead, SectionKind,
};
use multifd_migration::{Connections, Destination, DestinationConfig, Source, SourceConfig};

use super::guest::{self, PAGE, Taker};
use super::messages::all_messages;
use super::packets::first_packets;
#[cfg(feature = "command")]
use super::packets::packets;
use super::parts::{self, ON_MAIN, Part, SETUP, Setup};
use super::script::Script;
use crate::network::{self, Link};

/// All that was sent in one migration.
#[derive(Clone)]
pub(super) struct Machine {
    /// The number of the method.
    pub(super) method: u8,
    pub(super) main: Vec<u8>,
    pub(super) channels: Vec<Vec<u8>>,
    /// What the destination has said.
    pub(super) back: Vec<u8>,
}

/// Where the parts of a main stream end.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) configuration: usize,
    pub(super) ram: usize,
    /// With what is behind RAM.
    pub(super) tail: usize,
}

/// How a migration of this project's own is sent.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) method: u8,
    pub(super) channels: u8,
    pub(super) hand_over: bool,
    pub(super) return_path: bool,
    pub(super) legacy_zero_pages: bool,
    /// Over the channels.
    pub(super) device_state: bool,
    /// Before the end of memory.
    pub(super) early_sections: bool,
}

impl Machine {
    /// Every migration that seeds are made of.
    pub(super) fn all() -> Result<Vec<Self>> {
        let mut all = Self::recorded()?;
        let with_return_path: Result<Vec<_>> = all.iter().map(Self::with_return_path).collect();
        all.extend(with_return_path?);
        all.extend(Self::own()?);
        Ok(all)
    }

    /// The recorded migrations, each with its first packets.
    pub(super) fn recorded() -> Result<Vec<Self>> {
        RECORDED
            .iter()
            .map(|(name, method)| Self::read(name, *method))
            .collect()
    }

    /// Migrations of this project's own.
    pub(super) fn own() -> Result<Vec<Self>> {
        WAYS.iter().map(|way| Self::migrate(*way)).collect()
    }

    fn read(folder: &str, method: u8) -> Result<Self> {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("vectors")
            .join(folder);
        let read = |name: &str| {
            let path = vectors.join(name);
            fs::read(&path).with_context(|| path.display().to_string())
        };
        let channels = ["channel-0.bin", "channel-1.bin"].map(|name| {
            let bytes = read(name)?;
            first_packets(&bytes).context("no packets")
        });
        Ok(Self {
            method,
            main: read("main.bin")?,
            channels: channels.into_iter().collect::<Result<_>>()?,
            back: Vec::new(),
        })
    }

    /// The same from a source that opens the return path.
    fn with_return_path(&self) -> Result<Self> {
        let end = self.ends()?.configuration;
        let (head, rest) = self.main.split_at(end);
        Ok(Self {
            main: [head, &OPEN_RETURN_PATH, &FIRST_PING, rest].concat(),
            back: [ReturnMessage::Pong(1), ReturnMessage::Shut(0)]
                .map(ReturnMessage::encode)
                .concat(),
            ..self.clone()
        })
    }

    /// Migrates a small guest.
    fn migrate(way: Way) -> Result<Self> {
        let method = parts::open_method(way.method)?;
        let memory = guest::memory(&[("ram", 9), ("rom", 1)])?;
        for (block, page) in [(0, 1), (0, 2), (0, 7), (1, 0)] {
            let block = memory.blocks().get(block).context("block")?;
            let span = block.span(page * PAGE as u64, PAGE).context("page")?;
            span.copy_from(&[u8::try_from(page)? | 0x40; PAGE]);
        }
        let mut config = DestinationConfig::default();
        config.receiver.channels = ChannelCount::new(way.channels).context("channels")?;
        config.receiver.device_state = Some(Arc::new(|_| Ok(())));
        let destination = Destination::new(config, Arc::clone(&method));
        let mut taps = Vec::new();
        let mut connect = || -> Result<Box<dyn Transport>> {
            let link = || Link::default().capacity(1 << 20).recorded();
            let (ours, theirs, tap) = network::pair(link(), link());
            destination.accept(Box::new(theirs))?;
            taps.push(tap);
            Ok(Box::new(ours))
        };
        let main = connect()?;
        let channels = (0..way.channels).map(|_| connect());
        let channels = channels.collect::<Result<_>>()?;
        let connections = match way.return_path {
            true => Connections::new(main, channels)?,
            false => Connections::one_way(main, channels),
        };
        let source = Source::new(way.config(), memory, method, connections)?;
        let received = thread::scope(|scope| {
            let received = scope.spawn(|| destination.run(&mut Taker::default()));
            source.run_stopped().map_err(io::Error::other)?;
            received
                .join()
                .map_err(|_| anyhow!("the destination panicked"))
        })?;
        received?;
        let mut sent = taps.iter().map(|tap| tap.forth.bytes());
        Ok(Self {
            method: way.method,
            main: sent.next().context("main")?,
            channels: sent.collect(),
            back: taps.first().context("main")?.back.bytes(),
        })
    }

    /// Where the parts of the main stream end.
    pub(super) fn ends(&self) -> Result<Ends> {
        let reader = Reader::new(Box::new(Script::new(&self.main)), &[]);
        let mut stream = Incoming::new(reader, PageSize::X86);
        let mut configuration = 0;
        loop {
            match stream.next_event()? {
                Event::Configuration(_) => configuration = stream.reader_mut().offset(),
                Event::SectionEnd(RamPart::End) => break,
                _ => {}
            }
        }
        let ram = stream.reader_mut().offset();
        let go = self.main.ends_with(&GO_PING);
        Ok(Ends {
            configuration: usize::try_from(configuration)?,
            ram: usize::try_from(ram)?,
            tail: self.main.len() - if go { GO_PING.len() } else { 0 },
        })
    }

    /// An input for whoever takes all of the source's connections.
    pub(super) fn input(&self, more: [u8; 2]) -> Result<Vec<u8>> {
        let setup = self.setup(more).bytes();
        let ends = self.ends()?;
        let (upto_tail, go) = self.main.split_at(ends.tail);
        let (ram, tail) = upto_tail.split_at(ends.ram);
        let main = [ram, tail, go].map(|bytes| (ON_MAIN, bytes));
        let parts = std::iter::once((SETUP, &setup[..])).chain(main);
        Ok(parts::join(parts.chain(self.of_channels())))
    }

    pub(super) fn setup(&self, more: [u8; 2]) -> Setup {
        Setup {
            channels: u8::try_from(self.channels.len()).unwrap_or(1),
            method: self.method,
            more,
        }
    }

    /// What the destination says before its SHUT, that, and what it says behind it.
    pub(super) fn said(&self) -> [Vec<u8>; 3] {
        let mut parts: [Vec<u8>; 3] = Default::default();
        let [before, shut, behind] = &mut parts;
        for message in all_messages(&self.back) {
            let part = match message {
                ReturnMessage::Shut(_) => &mut *shut,
                _ if shut.is_empty() => &mut *before,
                _ => &mut *behind,
            };
            part.extend(message.encode());
        }
        parts
    }

    /// The device state that came over the channels, packet by packet.
    #[cfg(feature = "command")]
    pub(super) fn device_packets(&self) -> Vec<&[u8]> {
        let packets = self.channels.iter().flat_map(|channel| packets(channel));
        let state = packets.filter(|(packet, _)| packet.is_device_state);
        state.map(|(_, bytes)| bytes).collect()
    }

    /// What stands before the end of memory.
    #[cfg(feature = "command")]
    pub(super) fn early_sections(&self) -> Result<Vec<EarlySection>> {
        let reader = Reader::new(Box::new(Script::new(&self.main)), &[]);
        let mut stream = Incoming::new(reader, PageSize::X86);
        let mut sections: Vec<EarlySection> = Vec::new();
        loop {
            match stream.next_event()? {
                Event::EarlyStart(head) => sections.push(EarlySection {
                    head,
                    data: Vec::new(),
                    place: stream.early_place(),
                }),
                Event::EarlyData(data) => sections.last_mut().context("data")?.data.extend(data),
                Event::SectionEnd(RamPart::End) => return Ok(sections),
                _ => {}
            }
        }
    }

    pub(super) fn of_channels(&self) -> impl Iterator<Item = Part<'_>> {
        (1..).zip(self.channels.iter().map(Vec::as_slice))
    }
}

impl Way {
    fn config(self) -> SourceConfig {
        let mut config = SourceConfig::default();
        config.hand_over = self.hand_over;
        if self.legacy_zero_pages {
            config.zero_pages = ZeroPageDetection::Legacy;
        }
        config.devices = vec![DeviceSection {
            name: DEVICE.into(),
            instance: 0,
            version: 2,
            data: vec![7; 40],
        }];
        if self.device_state {
            // Laid out as VFIO devices do: of two pieces, the second one is the last.
            config.device_packets = vec![piece(0, 0), piece(1, 1)];
        }
        if self.early_sections {
            config.early_sections = Some(Arc::new(early_sections()));
        }
        config
    }
}

/// Of devices that are known and one that is not, at all places.
fn early_sections() -> Vec<EarlySection> {
    use EarlyPlace::{BeforeRam, BehindStart, BesideRam};
    use SectionKind::{Full, Part, Start};
    let bitmap = |kind, place| (kind, 5, "dirty-bitmap", place, &b"\x01"[..]);
    let sections = [
        (Full, 4, "unknown-early", BeforeRam, &[0x7e; 50][..]),
        bitmap(Start, BehindStart),
        (Start, 6, "spapr/htab", BehindStart, &[0, 0, 0, 24]),
        bitmap(Part, BesideRam),
        bitmap(Part, BesideRam),
    ];
    let sections = sections.map(|(kind, id, idstr, place, data)| EarlySection {
        head: SectionHead {
            kind,
            id,
            idstr: idstr.into(),
            instance: 0,
            version: 1,
        },
        data: data.to_vec(),
        place,
    });
    sections.into()
}

/// A piece of a device's state.
fn piece(number: u32, flags: u32) -> DeviceState {
    let header = [0, number, flags].map(u32::to_be_bytes).concat();
    DeviceState::new("0000:00:02.0/vfio", 0, [header, vec![9; 100]].concat())
}

/// The device of this project's own migrations.
pub(super) const DEVICE: &str = "a-device";

const OPEN_RETURN_PATH: [u8; 5] = [8, 0, 1, 0, 0];
/// What a source of this project says last, when it hands over.
pub(super) const GO_PING: [u8; 9] = *b"\x08\0\x02\0\x04mfGo";
const FIRST_PING: [u8; 9] = [8, 0, 2, 0, 4, 0, 0, 0, 1];

const RECORDED: [(&str, u8); 7] = [
    ("none-qemu-10.0", 0),
    ("none-legacy-zero-qemu-10.0", 0),
    ("zlib-qemu-10.0", 1),
    ("zstd-qemu-10.0", 2),
    ("zstd-per-section-qemu-10.0", 2),
    ("qatzip-qemu-10.2", 3),
    ("qpl-qemu-10.2", 4),
];

const PLAIN: Way = Way {
    method: 0,
    channels: 2,
    hand_over: true,
    return_path: true,
    legacy_zero_pages: false,
    device_state: false,
    early_sections: false,
};

const WAYS: [Way; 6] = [
    PLAIN,
    Way {
        hand_over: false,
        legacy_zero_pages: true,
        channels: 1,
        ..PLAIN
    },
    Way {
        return_path: false,
        channels: 3,
        ..PLAIN
    },
    Way {
        device_state: true,
        ..PLAIN
    },
    Way {
        early_sections: true,
        ..PLAIN
    },
    Way {
        method: 5,
        return_path: false,
        device_state: false,
        ..PLAIN
    },
];
