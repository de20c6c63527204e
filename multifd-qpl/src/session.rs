// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A channel's way to the device: a job for each page of a packet, with the memory that they work in.

#![allow(
    unsafe_code,
    reason = "memory is given to a device, which works in it after the call"
)]

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multifd_core::{ChannelSetup, MethodError};

use crate::abi::{NUMA_ANY, NUMA_AUTOMATIC};
use crate::error::{NAME, refusal};
use crate::job::{Job, Operation};
use crate::library::{Hardware, Library};
use crate::status::Status;

/// Jobs of the library's hardware path, one per page of a packet. It owns all memory that these read and write:
/// none of it is freed or handed out before its job is done. If a job is never done, all of it stays for ever.
pub(crate) struct Session {
    slots: Vec<Slot>,
    input: Vec<u8>,
    library: Arc<Library>,
    /// Whose devices are used.
    node: i32,
    /// How long a job may take.
    limit: Duration,
    /// Whether the device has to do every page: then full queues are waited for, too.
    must: bool,
    /// Whether the first page that software did was told.
    told: bool,
    /// Whether some job was not done within the limit. Nothing more is asked of the device then.
    is_silent: bool,
}

/// A job and what it writes to.
struct Slot {
    job: Job,
    output: Vec<u8>,
}

impl Session {
    /// Makes a job for each page of a packet, which writes up to a page, and memory of `input` bytes for what they
    /// read together. `None` if the library makes none and software may do the work: a warning tells why.
    ///
    /// # Errors
    /// The library makes none, and the device has to do the work.
    pub(crate) fn start(
        setup: &ChannelSetup,
        hardware: &Hardware,
        input: usize,
    ) -> Result<Option<Self>, MethodError> {
        let (count, output) = (setup.page_size.pages_per_packet(), setup.page_size.bytes());
        match Self::new(&hardware.library, count, input, output) {
            Ok(mut session) => {
                session.limit = setup.accelerator_limit;
                session.must = hardware.must;
                Ok(Some(session))
            }
            Err(status) if hardware.must => {
                let what = format!("this channel has no device: libqpl makes no job, {status}");
                Err(refusal(&what))
            }
            Err(status) => {
                let channel = setup.channel;
                log::warn!(
                    "{NAME}: channel {channel} has no device: libqpl makes no job, {status}"
                );
                Ok(None)
            }
        }
    }

    /// Makes `count` jobs, which write up to `output` bytes each, and have `input` bytes to read together.
    ///
    /// # Errors
    /// The library's; there is no device, for instance.
    pub(crate) fn new(
        library: &Arc<Library>,
        count: usize,
        input: usize,
        output: usize,
    ) -> Result<Self, Status> {
        let slot = |_| {
            Ok(Slot {
                job: Job::for_device(library)?,
                output: vec![FRESH; output],
            })
        };
        Ok(Self {
            slots: (0..count).map(slot).collect::<Result<_, _>>()?,
            input: vec![FRESH; input],
            library: Arc::clone(library),
            node: NUMA_AUTOMATIC,
            limit: TRIAL_LIMIT,
            must: false,
            told: false,
            is_silent: false,
        })
    }

    /// Whether there is no use in asking the device any more.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Software may do what the device did not, unless the device has to do everything. The first time, a warning
    /// tells.
    ///
    /// # Errors
    /// It has to; with what it answered.
    pub(crate) fn permit(&mut self, status: Status) -> Result<(), MethodError> {
        let remedy = status.remedy();
        if self.must {
            let what = format!("the device did not do a page: {status}, {remedy}");
            return Err(refusal(&what));
        }
        if !self.told {
            self.told = true;
            log::warn!("{NAME}: a page falls back: {status}, {remedy}; more is counted, not told");
        }
        Ok(())
    }

    /// Memory for what the jobs read. Waits for those that are still at work.
    ///
    /// # Errors
    /// [`Status::SILENT`].
    pub(crate) fn input_mut(&mut self) -> Result<&mut [u8], Status> {
        for slot in 0..self.slots.len() {
            self.settle(slot)?;
        }
        Ok(&mut self.input)
    }

    /// What the jobs read.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Gives a part of the input to the device, which may write up to `room` bytes to the slot's output.
    ///
    /// Where the work queues are full, the oldest job is waited for and its place taken.
    ///
    /// # Errors
    /// The library's, [`Status::QUEUES_ARE_BUSY`] if others have filled the queues, or [`Status::SILENT`]; or there
    /// is no such slot, input or room.
    pub(crate) fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        input: Range<usize>,
        room: usize,
    ) -> Result<(), Status> {
        self.settle(slot)?;
        let mut attempts = 0;
        let mut start = None;
        loop {
            match self.offer(slot, operation, input.clone(), room) {
                Err(Status::QUEUES_ARE_BUSY) => {}
                // Each node has work queues of its own, and this thread's may have none.
                Err(Status::NO_WORK_QUEUES)
                    if self.node == NUMA_AUTOMATIC && self.library.has_any_node() =>
                {
                    self.node = NUMA_ANY;
                }
                result => return result,
            }
            if let Some(oldest) = self.slots.iter().position(|slot| slot.job.is_at_work()) {
                self.settle(oldest)?;
                continue;
            }
            attempts += 1;
            let waited = start.get_or_insert_with(Instant::now).elapsed();
            if attempts >= SUBMISSIONS && !(self.must && waited < self.limit) {
                return Err(Status::QUEUES_ARE_BUSY);
            }
            std::hint::spin_loop();
        }
    }

    /// One attempt to give a job to the device.
    fn offer(
        &mut self,
        slot: usize,
        operation: Operation,
        input: Range<usize>,
        room: usize,
    ) -> Result<(), Status> {
        let Slot { job, output } = self.slots.get_mut(slot).ok_or(Status::INTERNAL)?;
        let input = self.input.get(input).ok_or(Status::INTERNAL)?;
        let room = output.get_mut(..room).ok_or(Status::INTERNAL)?;
        job.set(operation, self.node, input, room)?;
        // SAFETY: both buffers are this session's. The input is handed out to be written, and an output to be
        // read or written, only when no job is at work with them; and if one is when the session is dropped,
        // they are never freed.
        unsafe { job.submit() }
    }

    /// Waits until the slot's job is done, and returns how many bytes it wrote.
    ///
    /// # Errors
    /// The device's or the library's, or [`Status::SILENT`]; also if nothing was submitted.
    pub(crate) fn wait(&mut self, slot: usize) -> Result<usize, Status> {
        self.settle(slot)?;
        let job = self.slots.get_mut(slot).ok_or(Status::INTERNAL)?;
        job.job.wait(self.limit)
    }

    /// The slot's output, if it is not being written.
    pub(crate) fn output(&self, slot: usize) -> Option<&[u8]> {
        let slot = self.slots.get(slot)?;
        (!slot.job.is_at_work()).then_some(&slot.output)
    }

    /// A part of the input and the slot's output, for those who do the job instead; `None` if a device may
    /// still write to it.
    pub(crate) fn by_hand(
        &mut self,
        slot: usize,
        input: Range<usize>,
    ) -> Option<(&[u8], &mut [u8])> {
        self.settle(slot).ok()?;
        let slot = self.slots.get_mut(slot)?;
        Some((self.input.get(input)?, &mut slot.output))
    }

    /// Waits for a slot's job, if it is at work.
    fn settle(&mut self, slot: usize) -> Result<(), Status> {
        if self.is_silent {
            return Err(Status::SILENT);
        }
        let slot = self.slots.get_mut(slot).ok_or(Status::INTERNAL)?;
        slot.job
            .settle(self.limit)
            .inspect_err(|_| self.is_silent = true)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let settled = (0..self.slots.len()).all(|slot| self.settle(slot).is_ok());
        if !settled {
            // A device may still read and write all of it.
            mem::forget(mem::take(&mut self.slots));
            mem::forget(mem::take(&mut self.input));
        }
    }
}

/// What new memory is filled with. Zeros might not be in memory before they are touched, and a device would
/// fault on them.
const FRESH: u8 = 0xff;
/// How often a job is offered to work queues that others have filled before it is done otherwise. More than a few
/// would keep a processor waiting that could as well compress.
const SUBMISSIONS: usize = 4;
/// How long a job may take when the device is tried.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in;

    const PAGE: usize = 4096;

    fn session(count: usize) -> Session {
        let mut session = Session::new(&stand_in::library(), count, PAGE, PAGE).unwrap();
        session.input_mut().unwrap().fill(b'p');
        session
    }

    #[test]
    fn nothing_is_freed_or_shown_while_a_device_works_with_it() {
        let mut session = session(3);
        for slot in 0..3 {
            session
                .submit(slot, Operation::Compress, 0..PAGE, PAGE)
                .unwrap();
            assert_eq!(session.output(slot), None);
        }
        assert_eq!(stand_in::at_work(), 3);
        assert!(session.wait(1).is_ok());
        assert!(session.output(1).is_some());
        // Each of these waits for what it needs, and the end for all.
        assert!(session.by_hand(0, 0..PAGE).is_some());
        assert_eq!(stand_in::at_work(), 1);
        session.input_mut().unwrap().fill(0);
        assert_eq!(stand_in::at_work(), 0);
        session
            .submit(2, Operation::Compress, 0..PAGE, PAGE)
            .unwrap();
        drop(session);
        assert_eq!(stand_in::at_work(), 0);
        assert_eq!(stand_in::jobs(), 0);
    }

    #[test]
    fn a_slot_that_is_used_again_is_waited_for() {
        let mut session = session(1);
        for _ in 0..3 {
            session
                .submit(0, Operation::Compress, 0..PAGE, PAGE)
                .unwrap();
        }
        assert_eq!(stand_in::at_work(), 1);
        assert!(session.wait(0).is_ok());
        assert_eq!(
            session.wait(0),
            Err(Status::INTERNAL),
            "nothing to wait for"
        );
    }

    #[test]
    fn the_oldest_job_makes_room_in_full_queues() {
        let mut session = session(3);
        stand_in::set_depth(1);
        for slot in 0..3 {
            session
                .submit(slot, Operation::Compress, 0..PAGE, PAGE)
                .unwrap();
            assert_eq!(stand_in::at_work(), 1);
        }
        // What came of those that made room is known.
        for slot in 0..3 {
            assert!(session.wait(slot).is_ok(), "slot {slot}");
        }
    }

    #[test]
    fn queues_that_others_have_filled_are_tried_a_few_times() {
        let mut session = session(2);
        stand_in::set_depth(0);
        let before = stand_in::submissions();
        let busy = session.submit(1, Operation::Compress, 0..PAGE, PAGE);
        assert_eq!(busy, Err(Status::QUEUES_ARE_BUSY));
        assert_eq!(stand_in::submissions() - before, SUBMISSIONS);
        assert!(session.output(1).is_some(), "it was not submitted");
    }

    #[test]
    fn a_thread_without_work_queues_takes_those_of_another_node() {
        let mut session = session(1);
        stand_in::set_other_node();
        session
            .submit(0, Operation::Compress, 0..PAGE, PAGE)
            .unwrap();
        assert!(session.wait(0).is_ok());
    }

    #[test]
    fn a_silent_device_keeps_its_memory() {
        let mut session = session(2);
        session.limit = Duration::from_millis(20);
        stand_in::set_silent();
        let page = session.input().as_ptr();
        session
            .submit(0, Operation::Compress, 0..PAGE, PAGE)
            .unwrap();
        assert_eq!(session.wait(0), Err(Status::SILENT));
        assert!(session.is_silent());
        assert_eq!(session.output(0), None);
        assert!(session.by_hand(0, 0..PAGE).is_none());
        assert_eq!(session.input_mut(), Err(Status::SILENT));
        let again = session.submit(1, Operation::Compress, 0..PAGE, PAGE);
        assert_eq!(again, Err(Status::SILENT));
        drop(session);
        // Neither finished nor freed: the stand-in does now what it was asked for, and reads that page.
        assert_eq!((stand_in::at_work(), stand_in::jobs()), (1, 2));
        stand_in::work_late();
        // SAFETY: it was never freed.
        assert_eq!(unsafe { page.read() }, b'p');
    }

    #[test]
    fn what_is_out_of_bounds_is_not_submitted() {
        let mut session = session(1);
        for (slot, input, room) in [(1, 0..1, 1), (0, 0..PAGE + 1, 1), (0, 0..1, PAGE + 1)] {
            let refused = session.submit(slot, Operation::Compress, input, room);
            assert_eq!(refused, Err(Status::INTERNAL));
        }
        assert_eq!(stand_in::submissions(), 0);
        assert!(session.by_hand(0, 0..PAGE + 1).is_none());
    }
}
