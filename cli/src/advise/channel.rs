// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source's and a destination's channel, without a connection between them.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use multifd_core::memory::{IoVecList, IoVecMut};
use multifd_core::pages::{PageRuns, PayloadSource};
use multifd_core::{
    ChannelCount, ChannelSetup, MultifdMethods, PageSize, Payload, RecvMethod, Segments, SendMethod,
};
use rustix::time::{ClockId, clock_gettime};

use super::sample::Sample;
use super::spent::{Spent, Time};

/// A channel's two states of a method, and what goes from one to the other.
pub(super) struct Channel<'a> {
    sender: Box<dyn SendMethod>,
    receiver: Box<dyn RecvMethod>,
    sample: &'a Sample,
    from: PageRuns<'a>,
    to: PageRuns<'a>,
    payload: Vec<u8>,
}

impl<'a> Channel<'a> {
    pub(super) fn new(method: &dyn MultifdMethods, sample: &'a Sample) -> anyhow::Result<Self> {
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

    pub(super) fn run<'p>(
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
        self.from.set(&self.sample.source, packet)?;
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
        self.to.set(&self.sample.destination, packet)?;
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
