// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use multifd_core::memory::{BlockIndex, Mapping, Span};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::dirty::{BothLogs, DirtyBitmap, SoftwareLog};
use multifd_migration::source::{SourceEvent, Status};
use multifd_migration::stream::DeviceSection;
use multifd_migration::{DirtyLog, HostError, RunState, SourceHost};
use parking_lot::Mutex;

use super::Order;

/// How fast a guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// It stands still.
    Never,
    /// Pages per second.
    Pages(u64),
    /// As fast as it can.
    Full,
}

/// What a migration asks of a guest's hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To save the devices. Nothing of the switchover has been sent yet.
    Save,
    /// To let the guest run on.
    Resume,
    /// To note writes no more.
    StopLog,
}

/// A guest with one vCPU that writes pages in a scattered order.
pub struct Guest {
    memory: GuestMemory,
    log: BothLogs<SoftwareLog, Order>,
    cpu: Arc<Cpu>,
    thread: Option<JoinHandle<()>>,
    /// What the migration told.
    pub events: Vec<SourceEvent>,
    /// The throttle's settings in order.
    pub throttled: Vec<u8>,
    /// How often it was paused and resumed.
    pub paused: usize,
    /// See [`Self::paused`].
    pub resumed: usize,
    /// Fails the next pause.
    pub refuses_pause: bool,
    /// Fails the saving of devices.
    pub refuses_devices: bool,
    /// When its devices are saved, one of them writes to this page.
    pub device_writes: Option<u64>,
    /// When all that is left has been fetched, a device that was not stopped writes to this page.
    pub writes_late: Option<u64>,
    /// Called at each step.
    pub on_step: Option<Box<dyn FnMut(Step) + Send>>,
    /// The number of the last write to each page when it was paused last.
    frozen: Option<Vec<u64>>,
}

/// What the vCPU's thread shares with its hypervisor.
struct Cpu {
    memory: GuestMemory,
    log: SoftwareLog,
    rate: Rate,
    /// Share of the time that is taken away.
    throttle: AtomicU64,
    /// Held while a page is written: whoever holds it has paused the guest.
    running: Mutex<bool>,
    stop: AtomicBool,
    /// How many writes there were.
    writes: AtomicU64,
    /// The number of the last write to each page.
    last: Box<[AtomicU64]>,
}

impl Guest {
    /// A guest with memory of so many pages, which runs at once. A quarter of its pages is zero.
    ///
    /// # Errors
    /// There is no memory, or no thread.
    pub fn start(pages: u64, rate: Rate) -> Result<Self> {
        let memory = memory(pages)?;
        let log = SoftwareLog::new(&memory);
        let cpu = Cpu {
            memory: memory.clone(),
            log: log.clone(),
            rate,
            throttle: AtomicU64::new(0),
            running: Mutex::new(true),
            stop: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            last: (0..pages).map(|_| AtomicU64::new(0)).collect(),
        };
        for page in (0..pages).filter(|page| page % 4 != 0) {
            cpu.write(page);
        }
        let cpu = Arc::new(cpu);
        let vcpu = Arc::clone(&cpu);
        let thread = std::thread::Builder::new()
            .name("vcpu".into())
            .spawn(move || vcpu.run())?;
        Ok(Self {
            log: BothLogs(log, Order::new(&memory)),
            memory,
            cpu,
            thread: Some(thread),
            events: Vec::new(),
            throttled: Vec::new(),
            paused: 0,
            resumed: 0,
            refuses_pause: false,
            refuses_devices: false,
            device_writes: None,
            writes_late: None,
            on_step: None,
            frozen: None,
        })
    }

    /// Its memory.
    pub fn memory(&self) -> GuestMemory {
        self.memory.clone()
    }

    /// Whether it runs: it is neither paused nor gone.
    pub fn is_running(&self) -> bool {
        *self.cpu.running.lock()
    }

    /// Pauses it, as its user does.
    pub fn stop(&self) {
        *self.cpu.running.lock() = false;
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.cpu.writes.load(Ordering::Relaxed)
    }

    /// The states that the migration went through.
    pub fn states(&self) -> Vec<&'static str> {
        let states = self.events.iter().filter_map(|event| match event {
            SourceEvent::Status(status) => Some(status.name()),
            _ => None,
        });
        states.collect()
    }

    /// Checks a copy of the memory, page by page: it is to be what the guest had when it was paused last.
    ///
    /// # Errors
    /// The first page that is torn, stale or lost.
    pub fn check_copy(&self, copy: &GuestMemory) -> Result<()> {
        let mut bytes = [0; PAGE];
        let frozen = self.frozen.as_ref().context("it was never paused")?;
        for (page, want) in frozen.iter().copied().enumerate() {
            span(copy, page as u64)
                .context("no such page")?
                .copy_to(&mut bytes);
            let (number, rest) = bytes.split_first_chunk().context("a page is that long")?;
            let number = u64::from_le_bytes(*number);
            ensure!(
                number == want,
                "page {page} has write {number}, the guest wrote {want}"
            );
            let pattern = pattern(page as u64, number);
            let torn = rest.iter().any(|byte| *byte != pattern);
            ensure!(
                !torn,
                "page {page} is torn: not all of it is of write {number}"
            );
        }
        Ok(())
    }

    /// Notes what the memory is now.
    fn freeze(&mut self) {
        let last = self.cpu.last.iter();
        self.frozen = Some(last.map(|last| last.load(Ordering::Relaxed)).collect());
    }

    fn step(&mut self, step: Step) {
        if let Some(on_step) = &mut self.on_step {
            on_step(step);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.cpu.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the vCPU has been printed.
            let _ = thread.join();
        }
    }
}

impl SourceHost for Guest {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        self
    }

    fn run_state(&mut self) -> RunState {
        match self.is_running() {
            true => RunState::Running,
            false => RunState::Paused,
        }
    }

    fn pause(&mut self) -> Result<(), HostError> {
        self.paused += 1;
        self.log.1.pause();
        if self.refuses_pause {
            return Err("the vCPU does not stop".into());
        }
        *self.cpu.running.lock() = false;
        self.freeze();
        Ok(())
    }

    fn resume(&mut self) {
        self.resumed += 1;
        *self.cpu.running.lock() = true;
        self.step(Step::Resume);
    }

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        if self.refuses_devices {
            return Err("the device has no state".into());
        }
        self.step(Step::Save);
        if let Some(page) = self.device_writes {
            self.cpu.write(page);
            self.freeze();
        }
        Ok(vec![DeviceSection {
            name: "writes".into(),
            instance: 0,
            version: 1,
            data: self.writes().to_be_bytes().to_vec(),
        }])
    }

    fn throttle(&mut self, percent: u8) {
        self.throttled.push(percent);
        self.cpu.throttle.store(percent.into(), Ordering::Relaxed);
    }

    fn event(&mut self, event: &SourceEvent) {
        assert!(
            *event != SourceEvent::Status(Status::Device) || self.paused > 0,
            "the guest has to be paused first"
        );
        self.events.push(*event);
    }
}

impl DirtyLog for Guest {
    fn start(&mut self) -> Result<(), HostError> {
        self.log.start()
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        self.log.fetch()
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        self.log.harvest(block, dirty)?;
        if self.log.1.is_paused()
            && let Some(page) = self.writes_late.take()
        {
            self.cpu.write(page);
        }
        Ok(())
    }

    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        self.log.clear(block, dirty, from)
    }

    fn stop(&mut self) {
        self.step(Step::StopLog);
        self.log.stop();
    }
}

impl Cpu {
    fn run(&self) {
        let start = Instant::now();
        let mut state: u64 = 1;
        while !self.stop.load(Ordering::Relaxed) {
            if self.is_early(start) || !*self.running.lock() {
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            let throttle = self.throttle.load(Ordering::Relaxed);
            let begin = Instant::now();
            for _ in 0..16 {
                // Knuth's MMIX generator; the high bits are the good ones.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let running = self.running.lock();
                if *running {
                    self.write((state >> 33) % self.last.len() as u64);
                }
            }
            if throttle > 0 {
                let share = throttle as f64 / (100 - throttle.min(99)) as f64;
                std::thread::sleep(begin.elapsed().mul_f64(share));
            }
        }
    }

    fn is_early(&self, start: Instant) -> bool {
        match self.rate {
            Rate::Never => true,
            Rate::Full => false,
            Rate::Pages(rate) => {
                let initial = self.last.len() as u64 * 3 / 4;
                let written = self.writes.load(Ordering::Relaxed).saturating_sub(initial);
                written as f64 > start.elapsed().as_secs_f64() * rate as f64
            }
        }
    }

    /// Writes a page, a word at a time from its end on, and marks it.
    fn write(&self, page: u64) {
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let mut bytes = [pattern(page, number); PAGE];
        if let Some(head) = bytes.first_chunk_mut() {
            *head = number.to_le_bytes();
        }
        if let Some(span) = span(&self.memory, page) {
            span.copy_from(&bytes);
        }
        if let Some(last) = self.last.get(usize::try_from(page).unwrap_or(usize::MAX)) {
            last.store(number, Ordering::Relaxed);
        }
        if let Some(block) = block(&self.memory) {
            self.log.mark_range(block, page * PAGE as u64, PAGE as u64);
        }
    }
}

/// Zeroed memory of one block, which knows what of it nobody has touched.
pub fn memory(pages: u64) -> Result<GuestMemory> {
    let len = usize::try_from(pages)? * PAGE;
    let name = BlockName::new("ram").context("a name")?;
    let mut mapping = Mapping::anonymous(len)?;
    mapping.learn_untouched(None)?;
    let block = RamBlock::new(name, Arc::new(mapping))?;
    Ok(GuestMemory::new(PageSize::X86, vec![block])?)
}

fn span(memory: &GuestMemory, page: u64) -> Option<Span<'_>> {
    let block = memory.block(block(memory)?)?;
    block.span(page * PAGE as u64, PAGE)
}

fn block(memory: &GuestMemory) -> Option<BlockIndex> {
    memory.indexed().next().map(|(index, _)| index)
}

/// What fills a page behind the number of the write.
fn pattern(page: u64, number: u64) -> u8 {
    if number == 0 {
        return 0;
    }
    (page.wrapping_mul(31) ^ number.wrapping_mul(17)).to_le_bytes()[0] | 1
}

const PAGE: usize = 4096;
