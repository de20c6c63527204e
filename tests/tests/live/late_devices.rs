// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What comes over the channels when everything else is there: device state, which is waited for, or pages.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use multifd_core::transport::Transport;
use multifd_core::{
    AbortHandle, ChannelCount, DeviceState, GuestMemory, PageSize, Sender, SenderConfig,
};
use multifd_migration::stream::{
    AnnouncedBlock, Command, Configuration, DeviceSection, Outgoing, ReturnMessage, ReturnReader,
    SyncMode, Tail, Writer,
};
use multifd_migration::{
    Destination, DestinationConfig, DestinationFailure, DestinationHost, GuestHere, HostError,
    Report,
};
use multifd_tests::live;
use multifd_tests::network::{self, Link, Tap, Watchdog};
use parking_lot::Mutex;

use super::method;

const DEVICE: &str = "0000:00:02.0/vfio";
/// All that a VFIO device has on the main channel whose state goes over the channels.
const NOTHING_HERE: u64 = 0xffff_ffff_ef10_0001;

/// A source that has sent everything but what its device sends over the channels.
struct Script {
    sender: Sender,
    answers: ReturnReader,
    main: Tap,
    abort: AbortHandle,
    /// How much of the main channel there is.
    main_len: u64,
    /// Has a message when the host has taken the devices, with how many packets had come.
    complete: mpsc::Receiver<usize>,
    /// Lets the host return then.
    proceed: mpsc::Sender<()>,
}

struct Host {
    memory: GuestMemory,
    packets: Arc<Mutex<Vec<DeviceState>>>,
    complete: mpsc::Sender<usize>,
    proceed: mpsc::Receiver<()>,
}

impl DestinationHost for Host {
    fn memory(
        &mut self,
        _configuration: &Configuration,
        _blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        Ok(self.memory.clone())
    }

    fn complete(&mut self, _devices: &Tail) -> Result<(), HostError> {
        self.complete.send(self.packets.lock().len())?;
        Ok(self.proceed.recv()?)
    }
}

/// A piece of the device's state.
fn piece(number: u32, flags: u32) -> DeviceState {
    let data = [0, number, flags, 7].into_iter().flat_map(u32::to_be_bytes);
    DeviceState::new(DEVICE, 0, data.collect())
}

/// Sends a guest up to the end of the main channel, then does as `script` says. The destination's answer.
fn receive(
    limit: Duration,
    script: impl FnOnce(Script) -> Result<()> + Send,
) -> Result<Result<Report, DestinationFailure>> {
    let memory = live::memory(8)?;
    let packets = Arc::new(Mutex::new(Vec::new()));
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(2).context("two channels")?;
    config.receiver.limits.devices = limit;
    let kept = Arc::clone(&packets);
    config.receiver.device_state = Some(Arc::new(move |state| {
        kept.lock().push(state);
        Ok(())
    }));
    let none = method("none")?;
    let destination = Destination::new(config, Arc::clone(&none));
    let connect = || -> Result<_> {
        let (here, there, taps) = network::pair(Link::default(), Link::default());
        destination.accept(Box::new(there))?;
        Ok((here, taps))
    };
    let (main, taps) = connect()?;
    let channels = (0..2).map(|_| Ok(Box::new(connect()?.0) as Box<dyn Transport>));
    let channels = channels.collect::<Result<_>>()?;
    let answers = ReturnReader::new(main.duplicate()?);
    let (tell_complete, complete) = mpsc::channel();
    let (proceed, may_proceed) = mpsc::channel();
    let mut host = Host {
        memory: live::memory(8)?,
        packets,
        complete: tell_complete,
        proceed: may_proceed,
    };
    thread::scope(|scope| {
        let received = scope.spawn(|| destination.run(&mut host));
        let mut sender = Sender::start(&SenderConfig::default(), memory, &none, channels)?;
        let main_len = send_all_but_packets(&mut sender, Box::new(main))?;
        script(Script {
            sender,
            answers,
            main: taps.forth,
            abort: destination.abort_handle(),
            main_len,
            complete,
            proceed,
        })?;
        let received = received.join();
        received.map_err(|_| anyhow!("the destination's thread panicked"))
    })
}

/// Answers how many bytes the main channel has.
fn send_all_but_packets(sender: &mut Sender, main: Box<dyn Transport>) -> Result<u64> {
    let mut main = Outgoing::new(Writer::new(main), PageSize::X86, SyncMode::PerRound);
    main.configuration(&Configuration {
        machine: "none".into(),
        ..Configuration::default()
    })?;
    main.command(Command::OpenReturnPath)?;
    let blocks: Vec<_> = sender.memory().indexed().collect();
    let announced = blocks.iter().map(|(_, block)| AnnouncedBlock {
        name: block.name().clone(),
        used_length: block.len(),
    });
    let mut section = main.ram_start(announced.collect())?;
    section.sync()?;
    section.finish()?;
    main.flush()?;
    let runs = blocks.iter().map(|(index, block)| (*index, block.len()));
    let runs: Vec<_> = runs.collect();
    sender.sync()?;
    for (index, len) in runs {
        sender.queue_run(index, 0, len / PageSize::X86.bytes_u64())?;
    }
    sender.sync()?;
    sender.wait_sent()?;
    main.command(Command::SwitchoverStart)?;
    let mut section = main.ram_end()?;
    section.sync()?;
    section.finish()?;
    main.tail(&[DeviceSection {
        name: DEVICE.into(),
        instance: 0,
        version: 1,
        data: NOTHING_HERE.to_be_bytes().to_vec(),
    }])?;
    main.flush()?;
    Ok(main.writer_mut().offset())
}

impl Script {
    /// All of the main channel has been read.
    fn wait_main_read(&self) {
        self.main.wait_received(self.main_len);
    }

    fn send(&mut self, packets: &[DeviceState]) -> Result<()> {
        for packet in packets {
            self.sender.device_state(packet.clone())?;
        }
        Ok(self.sender.wait_sent()?)
    }

    /// The host takes the devices, of which so many packets have come.
    fn taken(&self, packets: usize) -> Result<()> {
        let got = self.complete.recv()?;
        ensure!(got == packets, "{got} packets were there, wanted {packets}");
        Ok(())
    }

    fn answer(&mut self, want: ReturnMessage) -> Result<()> {
        let got = self.answers.next_message()?.context("no answer")?;
        ensure!(got == want, "{got:?}, wanted {want:?}");
        Ok(())
    }
}

#[test]
fn state_that_comes_last_is_waited_for() -> Result<()> {
    let _watchdog = Watchdog::start();
    receive(FOREVER, |mut script| {
        script.wait_main_read();
        script.send(&[piece(2, 1), piece(0, 0)])?;
        script.send(&[piece(1, 0)])?;
        script.taken(3)?;
        script.proceed.send(())?;
        script.answer(ReturnMessage::Shut(0))
    })??;
    Ok(())
}

#[test]
fn state_that_does_not_come_is_missed() -> Result<()> {
    let _watchdog = Watchdog::start();
    for (packets, missing) in [
        (&[][..], "piece 0 and the configuration, the last one"),
        (
            &[piece(0, 0)],
            "piece 1 and the configuration, the last one",
        ),
        (&[piece(0, 0), piece(2, 1)], "piece 1 of 3"),
    ] {
        let failure = refused(Duration::from_secs(1), packets)?;
        let want = format!(
            "destination: device \"{DEVICE}\", instance 0: {missing} of its state have not come over the channels: \
             nothing comes for 1 s"
        );
        ensure!(failure == want, "{failure}");
    }
    Ok(())
}

#[test]
fn state_that_cannot_be_understood_is_refused() -> Result<()> {
    let _watchdog = Watchdog::start();
    let unknown = DeviceState::new(DEVICE, 0, vec![1; 100]);
    for (packets, why) in [
        (
            &[unknown][..],
            "its state came over the channels in an unknown layout",
        ),
        (&[piece(0, 0), piece(0, 0)], "piece 0 comes twice"),
        (
            &[piece(9, 0), piece(1, 1)],
            "a piece comes behind the configuration",
        ),
    ] {
        let failure = refused(FOREVER, packets)?;
        ensure!(failure.contains(why), "{failure}");
    }
    Ok(())
}

/// A destination that gets no more than these packets does not take the guest, and says so.
fn refused(limit: Duration, packets: &[DeviceState]) -> Result<String> {
    let received = receive(limit, |mut script| {
        // It may have refused them before all are sent.
        let _ = script.send(packets);
        script.answer(ReturnMessage::Shut(1))
    })?;
    let failure = received.err().context("the guest was taken")?;
    ensure!(failure.guest == GuestHere::NotHere);
    Ok(failure.to_string())
}

#[test]
fn state_behind_all_state_is_an_error() -> Result<()> {
    let _watchdog = Watchdog::start();
    let received = receive(FOREVER, |mut script| {
        script.send(&[piece(0, 1)])?;
        script.taken(1)?;
        script.send(&[DeviceState::new("other", 1, vec![0; 12])])?;
        while script.abort.error().is_none() {
            thread::yield_now();
        }
        script.proceed.send(())?;
        script.answer(ReturnMessage::Shut(1))
    })?;
    let failure = received.err().context("the guest was taken")?;
    let want = "device \"other\", instance 1: its state goes on when all of it has come";
    ensure!(failure.to_string().contains(want), "{failure}");
    Ok(())
}

/// Memory is whole by then, and may be with the host.
#[test]
fn pages_behind_the_end_of_memory_are_an_error() -> Result<()> {
    let _watchdog = Watchdog::start();
    let received = receive(FOREVER, |mut script| {
        script.send(&[piece(0, 1)])?;
        script.taken(1)?;
        let (block, _) = script.sender.memory().indexed().next().context("one")?;
        script.sender.queue_run(block, 0, 1)?;
        script.sender.wait_sent()?;
        while script.abort.error().is_none() {
            thread::yield_now();
        }
        script.proceed.send(())?;
        script.answer(ReturnMessage::Shut(1))
    })?;
    let failure = received.err().context("the guest was taken")?;
    ensure!(failure.guest == GuestHere::NotHere, "{failure:?}");
    let want = "pages behind the last SYNC, wanted none: the main channel has ended memory";
    ensure!(failure.to_string().ends_with(want), "{failure}");
    Ok(())
}

const FOREVER: Duration = Duration::from_secs(600);
