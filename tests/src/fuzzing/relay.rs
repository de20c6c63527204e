//! A whole source, in front of a relay.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use migration::stream::{
    AnnouncedBlock, DeviceSection, Outgoing, RAM_SECTION_ID, SyncMode, Writer,
};
use migration::{HostError, Relay, RelayConfig, RelayHost};
use multifd_core::transport::{Transport, send_all};
use multifd_core::wire::{BlockName, RamHeader, Uuid, ram_header_len};
use multifd_core::{ChannelCount, ChannelId, MethodFactory, MethodOptions, PageSize};

use super::Target;
use super::channel::{self, Joined};
use crate::network::{self, Endpoint, Link, Tap};

/// The length of the main stream in two bytes, the main stream, and all of one channel.
pub(super) const RELAY: Target = Target {
    name: "relay",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let passed = pass_on(bytes, Arc::clone(&threads));
        threads.join();
        passed.unwrap_or(false)
    },
    seeds: || Ok(vec![seed()?]),
};

/// Answers whether all of it was passed on.
fn pass_on(bytes: &[u8], threads: Arc<Joined>) -> Result<bool> {
    let (len, rest) = bytes.split_first_chunk().context("no length")?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (main, channel_bytes) = rest.split_at_checked(len).context("too short")?;

    let mut config = RelayConfig::default();
    config.forwarder.channels = ChannelCount::new(1).context("one channel")?;
    config.outgoing_channels = config.forwarder.channels;
    config.forwarder.threads = threads;
    let method = multifd_none::NoneFactory.open(&MethodOptions::new())?;
    let relay = Relay::new(config, Arc::clone(&method), method);
    for bytes in [main, channel_bytes] {
        let link = Link::default().capacity(bytes.len());
        let (mut source, here, _) = network::pair(link, Link::default());
        send_all(&mut source, &mut [bytes.into()])?;
        relay.accept(Box::new(here))?;
    }
    if !main.starts_with(&channel::MAIN) || !channel::is_channel(channel_bytes) {
        // It would be waited for: that is the target of a channel's.
        return Ok(false);
    }
    // Nothing becomes larger: zero pages stay without content.
    let link = || Link::default().capacity(1 << 16 | bytes.len()).recorded();
    let (here, _there, taps) = network::pair(link(), Link::default());
    let (here_too, _there_too, channel_taps) = network::pair(link(), Link::default());
    let mut host = Onward([Some(here), Some(here_too)]);
    let result = relay.run(&mut host);
    drop(relay);

    let sent = taps.forth.bytes();
    assert!(main.starts_with(&sent), "the main stream was changed");
    check(&channel_taps.forth)?;
    if result.is_ok() {
        assert!(sent == main, "a part of the main stream is missing");
    }
    Ok(result.is_ok())
}

/// What a relay sends are whole packets of pages that are in their blocks, but for the last one.
fn check(channel: &Tap) -> Result<()> {
    let bytes = channel.bytes();
    let Some((_, mut rest)) = bytes.split_at_checked(multifd_core::wire::INIT_PACKET_LEN) else {
        return Ok(());
    };
    let header_len = ram_header_len(PageSize::X86);
    while let Some((header, after)) = rest.split_at_checked(header_len) {
        if header.get(8..12) == Some(&[0, 0, 0, 0x40]) {
            return Ok(());
        }
        let header = RamHeader::decode(header, PageSize::X86);
        assert!(header.is_ok(), "{header:?}");
        let header = header?;
        for offset in header.offsets() {
            assert!(offset % 4096 == 0);
        }
        rest = after.get(header.payload_len..).unwrap_or_default();
    }
    Ok(())
}

/// The main connection, and the channel.
struct Onward([Option<Endpoint>; 2]);

impl RelayHost for Onward {
    fn connect(
        &mut self,
        _uuid: Uuid,
        channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        let [main, first] = &mut self.0;
        let end = channel.map_or(main, |_| first).take();
        Ok(Box::new(end.ok_or("connected twice")?))
    }
}

/// A migration of one packet of each kind but device state, without a return path.
fn seed() -> Result<Vec<u8>> {
    let link = Link::default().capacity(1 << 16).recorded();
    let (here, _there, taps) = network::pair(link, Link::default());
    let mut stream = Outgoing::new(
        Writer::new(Box::new(here)),
        PageSize::X86,
        SyncMode::PerRound,
    );
    stream.configuration(&migration::stream::Configuration {
        machine: "none".into(),
        ..Default::default()
    })?;
    let block = |name, pages: u64| -> Result<AnnouncedBlock> {
        Ok(AnnouncedBlock {
            name: BlockName::new(name).context("name")?,
            used_length: pages * 4096,
        })
    };
    let mut section = stream.ram_start(vec![block("ram", 4)?, block("rom", 1)?])?;
    section.sync()?;
    section.finish()?;
    for zero in [true, false] {
        let mut section = stream.ram_part()?;
        if zero {
            section.zero_page(1, 0)?;
        }
        section.sync()?;
        section.finish()?;
    }
    stream.ram_end()?.finish()?;
    stream.tail(&[DeviceSection {
        name: "timer".into(),
        instance: 0,
        version: RAM_SECTION_ID,
        data: vec![7; 40],
    }])?;
    stream.flush()?;
    let main = taps.forth.bytes();
    let mut bytes = u16::try_from(main.len())?.to_be_bytes().to_vec();
    bytes.extend(main);
    bytes.extend(channel::packets(false)?);
    ensure!(bytes.len() > 1000);
    Ok(bytes)
}
