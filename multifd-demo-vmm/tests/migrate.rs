// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that run migrate between two machines, go on, and find their memory whole.

use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::{MethodOptions, MultifdMethods, Registry};
use multifd_demo_vmm::{Machine, MachineConfig, Memory, Pattern, Processors, Workload};
use multifd_migration::source::{AutoConverge, GuestAfter, SourceHandle};
use multifd_migration::stream::DeviceSection;
use multifd_migration::{
    Connections, DestinationConfig, DirtyLog, HostError, Report, RunState, SourceConfig, SourceHost,
};
use rustix::fs::{MemfdFlags, memfd_create};

const MEMORY: u64 = 24 << 20;
const PAGE: usize = 4096;

#[test]
fn every_pattern_goes_on_at_the_other_side() -> Result<()> {
    for processors in available() {
        for pattern in Pattern::ALL {
            let mut config = config(processors);
            config.workload.pattern = pattern;
            migrates(&config).with_context(|| format!("{processors}, {pattern}"))?;
        }
    }
    Ok(())
}

#[test]
fn with_the_dirty_ring() -> Result<()> {
    for processors in available() {
        if processors == Processors::Kvm {
            migrates(&MachineConfig {
                dirty_ring: Some(65536),
                ..config(processors)
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_guest_that_writes_as_fast_as_it_can_is_throttled() -> Result<()> {
    for processors in available() {
        let mut config = config(processors);
        config.workload.rate = None;
        let mut guests = Guests::new(&config)?;
        guests.source.run();
        let mut source = SourceConfig::default();
        // Less than it writes.
        source.tuning.max_bandwidth = NonZeroU64::new(32 << 20);
        source.tuning.downtime_limit = Duration::from_millis(50);
        let mut throttle = AutoConverge::default();
        (throttle.initial, throttle.increment) = (90, 9);
        source.auto_converge = Some(throttle);
        guests.migrate(source)?;
        let handle = guests.handle.as_ref().context("it has migrated")?;
        ensure!(handle.info().cpu_throttle_percentage >= Some(90));
        guests.is_whole_there()?;
    }
    Ok(())
}

#[test]
fn a_guest_whose_migration_fails_runs_on_here() -> Result<()> {
    for processors in available() {
        let mut guests = Guests::new(&config(processors))?;
        guests.source.run();
        // Of fewer vCPUs there, one here would be lost.
        for vcpus in [3, 1] {
            let other = MachineConfig {
                vcpus,
                ..config(processors)
            };
            guests.destination = Machine::incoming(&other, Memory::incoming(&guests.files[1])?)?;
            guests.is_refused(&format!("has 2 vCPUs, this machine {vcpus}"))?;
        }
        // And so would a device that the destination does not have.
        guests.device = Some("disk");
        guests.destination =
            Machine::incoming(&config(processors), Memory::incoming(&guests.files[1])?)?;
        guests.is_refused("this machine has no such device")?;
        guests.device = None;
        let before = guests.source.report()?.written;
        while guests.source.report()?.written < before + 100 {
            std::thread::yield_now();
        }
        ensure!(guests.source.report()?.failures.is_empty());
        // A second attempt, to the right machine.
        guests.destination =
            Machine::incoming(&config(processors), Memory::incoming(&guests.files[1])?)?;
        guests.migrate(SourceConfig::default())?;
        guests.is_whole_there()?;
    }
    Ok(())
}

#[test]
fn a_paused_guest_stays_paused() -> Result<()> {
    for processors in available() {
        let mut guests = Guests::new(&config(processors))?;
        guests.source.run();
        while guests.source.report()?.written < 200 {
            std::thread::yield_now();
        }
        guests.source.stop()?;
        let here = guests.source.report()?;
        let report = guests.migrate(SourceConfig::default())?;
        ensure!(report.run_state == Some(RunState::Paused), "{report:?}");
        std::thread::sleep(Duration::from_millis(20));
        let there = guests.destination.report()?;
        ensure!(there.written == here.written, "{there:?}, {here:?}");
        guests.memory_is_the_same()?;
        guests.destination.run();
        guests.is_whole_there()?;
    }
    Ok(())
}

#[test]
fn a_guest_that_finds_a_wrong_page_says_so() -> Result<()> {
    for processors in available() {
        let guests = Guests::new(&config(processors))?;
        // In the middle of the working set.
        guests.files[0].write_all_at(&[0x77; 4096], MEMORY / 2)?;
        guests.source.check_memory();
        guests.source.run();
        while guests.source.report()?.failures.len() < 2 {
            std::thread::yield_now();
        }
        let report = guests.source.report()?;
        ensure!(report.console.contains('P'), "{report:?}");
        ensure!(
            report.failures.iter().any(|what| what.contains("wrong")),
            "{report:?}"
        );
        ensure!(guests.source.stop().is_err(), "a vCPU has halted");
    }
    Ok(())
}

#[test]
fn a_rate_is_kept() -> Result<()> {
    const RATE: u32 = 1000;
    for processors in available() {
        let mut config = config(processors);
        config.workload.rate = NonZeroU64::new(RATE.into());
        let guests = Guests::new(&config)?;
        let start = Instant::now();
        guests.source.run();
        while guests.source.report()?.written < 300 {
            std::thread::sleep(Duration::from_millis(1));
        }
        guests.source.stop()?;
        // A busy machine makes it slower, never faster. One that keeps to no rate writes thousands in a millisecond.
        let allowed = start.elapsed().as_secs_f64() * f64::from(RATE);
        let written = guests.source.report()?.written;
        ensure!(
            written as f64 <= allowed,
            "{written} pages, {allowed:.0} allowed"
        );
        std::thread::sleep(Duration::from_millis(50));
        ensure!(guests.source.report()?.written == written, "it is stopped");
    }
    Ok(())
}

/// KVM, if there is one, and threads.
fn available() -> Vec<Processors> {
    let (best, why) = Processors::available();
    if let Some(why) = why {
        // Past the test harness, which shows nothing of a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped with KVM: {why}");
    }
    if best == Processors::Kvm {
        vec![Processors::Kvm, Processors::Threads]
    } else {
        vec![Processors::Threads]
    }
}

fn config(processors: Processors) -> MachineConfig {
    MachineConfig {
        vcpus: 2,
        processors,
        workload: Workload {
            rate: NonZeroU64::new(4000),
            pattern: Pattern::Random,
            working_set: 22 << 20,
        },
        dirty_ring: None,
    }
}

fn migrates(config: &MachineConfig) -> Result<()> {
    let mut guests = Guests::new(config)?;
    guests.source.run();
    while guests.source.report()?.written < 200 {
        std::thread::yield_now();
    }
    let mut source = SourceConfig::default();
    // Its devices stand still, too.
    source.check_pause = true;
    guests.migrate(source)?;
    guests.is_whole_there()
}

/// A machine with a guest, and one that it goes to.
struct Guests {
    source: Machine,
    destination: Machine,
    files: [File; 2],
    /// One that the source has beside its own.
    device: Option<&'static str>,
    /// Of the last migration.
    handle: Option<SourceHandle>,
}

impl Guests {
    fn new(config: &MachineConfig) -> Result<Self> {
        let files = [memory()?, memory()?];
        fill(&files[0])?;
        Ok(Self {
            source: Machine::boot(config, Memory::new(&files[0])?)?,
            destination: Machine::incoming(config, Memory::incoming(&files[1])?)?,
            files,
            device: None,
            handle: None,
        })
    }

    fn migrate(&mut self, mut config: SourceConfig) -> Result<Report> {
        // A guest that does not converge fails its test.
        config.time_limit = Some(Duration::from_secs(60));
        let method = method()?;
        let destination =
            multifd_demo_vmm::destination(&self.destination, DestinationConfig::default(), &method);
        let connect = || -> Result<SocketTransport> {
            let (ours, theirs) = UnixStream::pair()?;
            destination.accept(Box::new(SocketTransport::new(theirs)?))?;
            Ok(SocketTransport::new(ours)?)
        };
        let main = Box::new(connect()?);
        let channels = (0..2).map(|_| Ok(Box::new(connect()?) as Box<dyn Transport>));
        let connections = Connections::new(main, channels.collect::<Result<_>>()?)?;
        let source = multifd_demo_vmm::source(&self.source, config, &method, connections)?;
        self.handle = Some(source.handle());
        let (sent, received) = std::thread::scope(|scope| {
            let incoming = &mut self.destination;
            let received = scope.spawn(|| multifd_demo_vmm::receive(incoming, &destination));
            let mut host = WithDevice(&mut self.source, self.device);
            (source.run(&mut host), received.join())
        });
        let received = received.map_err(|_| anyhow!("the destination panicked"))?;
        match sent {
            Ok(report) => {
                received?;
                Ok(report)
            }
            Err(failure) => {
                ensure!(failure.guest == GuestAfter::Here);
                Err(anyhow!("refused: {failure}; {:?}", received.err()))
            }
        }
    }

    /// The destination does not take the guest, and says why.
    fn is_refused(&mut self, why: &str) -> Result<()> {
        let error = self.migrate(SourceConfig::default()).err();
        let error = format!("{:#}", error.context("it was taken")?);
        ensure!(error.contains("refused"), "{error}");
        ensure!(error.contains(why), "{error}");
        Ok(())
    }

    /// All memory has arrived; the guest writes on there, and finds each of its pages whole.
    fn is_whole_there(&self) -> Result<()> {
        let here = self.source.report()?;
        ensure!(here.failures.is_empty(), "{here:?}");
        let there = &self.destination;
        self.memory_is_the_same()?;
        there.check_memory();
        loop {
            let report = there.report()?;
            ensure!(report.failures.is_empty(), "{report:?}");
            let checked = report.checked >= here.checked + there.working_set();
            if checked && report.written > here.written + 100 {
                break;
            }
            std::thread::yield_now();
        }
        there.stop()?;
        ensure!(self.source.report()? == here, "it runs on both sides");
        self.memory_is_the_same()
    }

    /// Page by page, when the guest was stopped here: the file there is what arrived, for the guest
    /// there writes to a private view of it.
    fn memory_is_the_same(&self) -> Result<()> {
        let [mut ours, mut theirs] = [[0; PAGE], [0; PAGE]];
        for offset in (0..MEMORY).step_by(PAGE) {
            self.files[0].read_exact_at(&mut ours, offset)?;
            self.files[1].read_exact_at(&mut theirs, offset)?;
            ensure!(
                ours == theirs,
                "the page at {offset:#x} is not what was sent"
            );
        }
        Ok(())
    }
}

/// A machine and perhaps one device more.
struct WithDevice<'a>(&'a mut Machine, Option<&'static str>);

impl SourceHost for WithDevice<'_> {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        self.0.dirty_log()
    }

    fn run_state(&mut self) -> RunState {
        self.0.run_state()
    }

    fn pause(&mut self) -> Result<(), HostError> {
        self.0.pause()
    }

    fn resume(&mut self) {
        self.0.resume();
    }

    fn throttle(&mut self, percent: u8) {
        self.0.throttle(percent);
    }

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        let mut devices = self.0.save_devices()?;
        devices.extend(self.1.map(|name| DeviceSection {
            name: name.into(),
            ..DeviceSection::default()
        }));
        Ok(devices)
    }
}

fn memory() -> Result<File> {
    let file = File::from(memfd_create("guest", MemfdFlags::empty())?);
    file.set_len(MEMORY)?;
    Ok(file)
}

/// Content that is not zero, and no two pages of it alike.
fn fill(file: &File) -> Result<()> {
    let mut state = 7_u64;
    for offset in (0..MEMORY).step_by(64) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        file.write_all_at(&state.to_le_bytes(), offset)?;
    }
    Ok(())
}

fn method() -> Result<Arc<dyn MultifdMethods>> {
    let mut registry = Registry::new();
    registry.register(multifd_none::NoneFactory)?;
    Ok(registry.open("none", &MethodOptions::default())?)
}
