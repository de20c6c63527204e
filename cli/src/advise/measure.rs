//! What the methods cost, one after the other, on every core at the same time.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use multifd_core::memory::{IoVecList, IoVecMut};
use multifd_core::method::Path;
use multifd_core::pages::{PageRuns, PayloadSource};
use multifd_core::{
    ChannelCount, ChannelSetup, MultifdMethods, PageSize, Payload, RecvMethod, Segments, SendMethod,
};
use rustix::time::{ClockId, clock_gettime};

use super::model::{Codec, PAGE, Sides};
use super::sample::Sample;

/// How a method is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Threads that do so at the same time: cores that are busy are slower than one alone.
    pub(crate) threads: usize,
    /// Each one stops after so much time.
    pub(crate) time: Duration,
}

/// Compresses and decompresses the sample, or as much of it as there is time for.
pub(crate) fn measure(
    method: &dyn MultifdMethods,
    level: Option<u8>,
    sample: &Sample,
    effort: Effort,
) -> anyhow::Result<Codec> {
    ensure!(
        !sample.packets.is_empty(),
        "the memory holds nothing but zero pages: there is nothing to measure"
    );
    let threads = effort.threads.min(sample.packets.len()).max(1);
    let start = Barrier::new(threads);
    let channels: anyhow::Result<Vec<_>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let packets = sample.packets.iter().skip(number).step_by(threads);
                let start = &start;
                scope.spawn(move || {
                    let channel = Channel::new(method, sample);
                    start.wait();
                    channel?.run(packets, effort.time)
                })
            })
            .collect();
        let joined = running.into_iter().map(|thread| {
            let panicked = |panic| std::panic::resume_unwind(panic);
            thread.join().unwrap_or_else(panicked)
        });
        joined.collect()
    });
    let sum = channels?.into_iter().fold(Spent::default(), Spent::plus);
    Ok(sum.codec(method, level, threads))
}

/// A method that needs no time of its own: its pages go to the kernel as they are.
pub(crate) fn free(method: &dyn MultifdMethods) -> Codec {
    Codec {
        method: method.name().into(),
        level: None,
        implementation: method.implementation(),
        payload: PAGE,
        cpu: Sides::default(),
        elapsed: Sides::default(),
        channels: 1,
    }
}

/// What the packets of some channels took.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    pages: usize,
    payload: usize,
    send: Time,
    recv: Time,
}

#[derive(Clone, Copy, Debug, Default)]
struct Time {
    cpu: Duration,
    elapsed: Duration,
}

impl Spent {
    fn plus(self, other: Self) -> Self {
        Self {
            pages: self.pages + other.pages,
            payload: self.payload + other.payload,
            send: self.send.plus(other.send),
            recv: self.recv.plus(other.recv),
        }
    }

    fn codec(&self, method: &dyn MultifdMethods, level: Option<u8>, channels: usize) -> Codec {
        let pages = self.pages.max(1) as f64;
        let per_page = |time: Duration| time.as_secs_f64() / pages;
        let cpu = Sides {
            send: per_page(self.send.cpu),
            recv: per_page(self.recv.cpu),
        };
        let implementation = method.implementation();
        // Software waits for nothing; if it did here, others had the cores.
        let waits = implementation.starts_with(Path::Hardware.name());
        let elapsed = Sides {
            send: per_page(self.send.elapsed),
            recv: per_page(self.recv.elapsed),
        };
        Codec {
            method: method.name().into(),
            level,
            implementation,
            payload: self.payload as f64 / pages,
            cpu,
            elapsed: if waits { elapsed } else { cpu },
            channels,
        }
    }
}

impl Time {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            elapsed: self.elapsed + other.elapsed,
        }
    }
}

/// A source's and a destination's channel, without a connection.
struct Channel<'a> {
    sender: Box<dyn SendMethod>,
    receiver: Box<dyn RecvMethod>,
    sample: &'a Sample,
    from: PageRuns<'a>,
    to: PageRuns<'a>,
    payload: Vec<u8>,
}

impl<'a> Channel<'a> {
    fn new(method: &dyn MultifdMethods, sample: &'a Sample) -> anyhow::Result<Self> {
        let page_size = PageSize::X86;
        let id = ChannelCount::default().channel(0).context("a channel")?;
        let setup = ChannelSetup::new(id, page_size);
        Ok(Self {
            sender: method.send_setup(&setup)?,
            receiver: method.recv_setup(&setup)?,
            sample,
            from: PageRuns::new(page_size),
            to: PageRuns::new(page_size),
            payload: Vec::new(),
        })
    }

    fn run<'p>(
        mut self,
        packets: impl Iterator<Item = &'p Vec<u64>>,
        limit: Duration,
    ) -> anyhow::Result<Spent> {
        let mut spent = Spent::default();
        for (number, packet) in packets.enumerate() {
            let send = self.send(packet)?;
            let recv = self.recv(packet)?;
            // The first one finds caches, buffers and pages new.
            if number == 0 {
                continue;
            }
            spent = spent.plus(Spent {
                pages: packet.len(),
                payload: self.payload.len(),
                send,
                recv,
            });
            if spent.send.cpu.max(spent.send.elapsed) + spent.recv.cpu.max(spent.recv.elapsed)
                > limit
            {
                break;
            }
        }
        Ok(spent)
    }

    fn send(&mut self, packet: &[u64]) -> anyhow::Result<Time> {
        self.from
            .set(&self.sample.source, packet)
            .map_err(outside)?;
        let mut list = IoVecList::default();
        let mut out = Segments::new(&mut list);
        let clock = Clock::start();
        self.sender.send_prepare(&self.from.pages(), &mut out)?;
        let time = clock.stop();
        // For the receiver; to a socket it goes as it is.
        self.payload.resize(out.bytes(), 0);
        let mut done = 0;
        for vec in out.with_header(&[]) {
            done += vec.copy_to(self.payload.get_mut(done..).unwrap_or_default());
        }
        Ok(time)
    }

    fn recv(&mut self, packet: &[u64]) -> anyhow::Result<Time> {
        self.to
            .set(&self.sample.destination, packet)
            .map_err(outside)?;
        let mut source = Bytes {
            rest: &self.payload,
            copying: Duration::ZERO,
        };
        let clock = Clock::start();
        let mut payload = Payload::new(&mut source, self.payload.len());
        self.receiver.recv(&mut payload, &self.to.pages_mut())?;
        let time = clock.stop();
        // The kernel's copy is a cost of the engine.
        Ok(Time {
            cpu: time.cpu.saturating_sub(source.copying),
            elapsed: time.elapsed.saturating_sub(source.copying),
        })
    }
}

fn outside(offset: u64) -> anyhow::Error {
    anyhow!("page {offset:#x} is outside of the sample")
}

/// A connection that has everything already.
struct Bytes<'a> {
    rest: &'a [u8],
    copying: Duration,
}

impl PayloadSource for Bytes<'_> {
    fn fill(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<()> {
        let start = Instant::now();
        for vec in room {
            let count = vec.copy_from(self.rest);
            if count < vec.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.rest = self.rest.get(count..).unwrap_or_default();
        }
        self.copying += start.elapsed();
        Ok(())
    }
}

/// The time of this thread, and of everybody.
struct Clock {
    cpu: Duration,
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            cpu: cpu_time(),
            start: Instant::now(),
        }
    }

    fn stop(&self) -> Time {
        Time {
            cpu: cpu_time().saturating_sub(self.cpu),
            elapsed: self.start.elapsed(),
        }
    }
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
