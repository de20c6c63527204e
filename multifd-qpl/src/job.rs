//! A job of libqpl: one page to compress or to decompress.
//!
//! A [`SoftwareJob`] is done when its call returns. A [`Queue`] gives many jobs to a device and owns all
//! memory that these read and write: none of it is freed or handed out before its job is done.

#![allow(
    unsafe_code,
    reason = "jobs are made by a C library and worked at by a device, both of which take pointers"
)]

use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::abi::{
    FLAG_FIRST, FLAG_LAST, FLAG_OMIT_VERIFY, LEVEL_DEFAULT, NUMA_AUTOMATIC, OP_COMPRESS,
    OP_DECOMPRESS, PATH_HARDWARE, PATH_SOFTWARE, RawJob,
};
use crate::library::Library;
use crate::status::Status;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Makes a raw deflate stream with the fixed Huffman codes, as QEMU does.
    Compress,
    /// Takes any raw deflate stream whose distances are at most 4 KiB.
    Decompress,
}

/// A job of the library's software path.
pub(crate) struct SoftwareJob(Job);

impl SoftwareJob {
    /// Makes the job; it needs most of a megabyte.
    ///
    /// # Errors
    /// The library's.
    pub(crate) fn new(library: &Arc<Library>) -> Result<Self, Status> {
        Ok(Self(Job::new(library, PATH_SOFTWARE)?))
    }

    /// Does it, and answers how many bytes of `room` were written.
    ///
    /// # Errors
    /// The library's, with [`Status::is_no_room`] among them.
    pub(crate) fn run(
        &mut self,
        operation: Operation,
        input: &[u8],
        room: &mut [u8],
    ) -> Result<usize, Status> {
        let job = &mut self.0;
        job.set(operation, input, room)?;
        // SAFETY: the job was initialised in `Job::new`. Its pointers and lengths are those of two slices
        // that are borrowed until this function ends, and a job of the software path is done when
        // the call returns.
        let status = unsafe { (job.library.functions.execute_job)(job.raw()) };
        job.result(status)
    }
}

/// Jobs of the library's hardware path, one per page of a packet, with their memory.
///
/// The jobs come first, so that they are dropped first.
pub(crate) struct Queue {
    slots: Vec<Slot>,
    input: Vec<u8>,
}

/// A job and what it writes to.
struct Slot {
    job: Job,
    output: Vec<u8>,
}

impl Queue {
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
                job: Job::new(library, PATH_HARDWARE)?,
                output: vec![FRESH; output],
            })
        };
        Ok(Self {
            slots: (0..count).map(slot).collect::<Result<_, _>>()?,
            input: vec![FRESH; input],
        })
    }

    /// Memory for what the jobs read. Waits for those that are still at work.
    pub(crate) fn input_mut(&mut self) -> &mut [u8] {
        for slot in &mut self.slots {
            slot.job.settle();
        }
        &mut self.input
    }

    /// What the jobs read.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Gives a part of the input to the device, which may write up to `room` bytes to the slot's output.
    ///
    /// # Errors
    /// The library's, [`Status::QUEUES_ARE_BUSY`] after a few attempts; or there is no such slot,
    /// input or room.
    pub(crate) fn submit(
        &mut self,
        slot: usize,
        operation: Operation,
        input: Range<usize>,
        room: usize,
    ) -> Result<(), Status> {
        let Slot { job, output } = self.slots.get_mut(slot).ok_or(Status::INTERNAL)?;
        job.settle();
        let input = self.input.get(input).ok_or(Status::INTERNAL)?;
        let room = output.get_mut(..room).ok_or(Status::INTERNAL)?;
        job.set(operation, input, room)?;
        job.submit()
    }

    /// Waits until the slot's job is done, and answers how many bytes it wrote.
    ///
    /// # Errors
    /// The device's or the library's; also if nothing was submitted.
    pub(crate) fn wait(&mut self, slot: usize) -> Result<usize, Status> {
        let slot = self.slots.get_mut(slot).ok_or(Status::INTERNAL)?;
        slot.job.wait()
    }

    /// The slot's output, if it is not being written.
    pub(crate) fn output(&self, slot: usize) -> Option<&[u8]> {
        let slot = self.slots.get(slot)?;
        (!slot.job.is_at_work).then_some(&slot.output)
    }

    /// A part of the input and the slot's output, for those who do the job instead.
    pub(crate) fn by_hand(
        &mut self,
        slot: usize,
        input: Range<usize>,
    ) -> Option<(&[u8], &mut [u8])> {
        let slot = self.slots.get_mut(slot)?;
        slot.job.settle();
        Some((self.input.get(input)?, &mut slot.output))
    }
}

/// An initialised `qpl_job`.
///
/// Its memory comes last, so that it is freed last.
struct Job {
    /// Bytes that it may write.
    room: usize,
    /// From a submission that was accepted until its wait.
    is_at_work: bool,
    library: Arc<Library>,
    memory: Memory,
}

impl Job {
    fn new(library: &Arc<Library>, path: u32) -> Result<Self, Status> {
        let mut size = 0;
        // SAFETY: the function writes one number, which lives over the call.
        Status::check(unsafe { (library.functions.get_job_size)(path, &raw mut size) })?;
        let memory = Memory::new(usize::try_from(size).map_err(|_| Status::INTERNAL)?);
        // SAFETY: the memory is zeroed, aligned, and of the size that the library asked for.
        Status::check(unsafe { (library.functions.init_job)(path, memory.job.as_ptr()) })?;
        Ok(Self {
            room: 0,
            is_at_work: false,
            library: Arc::clone(library),
            memory,
        })
    }

    fn raw(&mut self) -> *mut RawJob {
        self.memory.job.as_ptr()
    }

    /// Says what is to be done. Nothing is read or written yet.
    fn set(&mut self, operation: Operation, input: &[u8], room: &mut [u8]) -> Result<(), Status> {
        let too_long = |_| Status::INTERNAL;
        let available_in = u32::try_from(input.len()).map_err(too_long)?;
        let available_out = u32::try_from(room.len()).map_err(too_long)?;
        // SAFETY: the memory holds an initialised job that nobody works at: `&mut self`, and the callers
        // have settled it.
        let raw = unsafe { self.memory.job.as_mut() };
        raw.next_in = input.as_ptr();
        raw.available_in = available_in;
        raw.total_in = 0;
        raw.next_out = room.as_mut_ptr();
        raw.available_out = available_out;
        raw.total_out = 0;
        raw.numa_id = NUMA_AUTOMATIC;
        (raw.operation, raw.flags) = match operation {
            Operation::Compress => (OP_COMPRESS, FLAG_FIRST | FLAG_LAST | FLAG_OMIT_VERIFY),
            Operation::Decompress => (OP_DECOMPRESS, FLAG_FIRST | FLAG_LAST),
        };
        raw.level = LEVEL_DEFAULT;
        raw.huffman_table = ptr::null_mut();
        raw.dictionary = ptr::null_mut();
        raw.end_processing = 0;
        self.room = room.len();
        Ok(())
    }

    /// Gives a job that is set to the device. The caller keeps its buffers alive, and does not look
    /// at them, until it has waited.
    fn submit(&mut self) -> Result<(), Status> {
        let mut status = Status::QUEUES_ARE_BUSY;
        for _ in 0..SUBMISSIONS {
            // SAFETY: the job is initialised and set, and its buffers belong to the slot and the queue that it
            // is in. They are neither freed, nor written, nor is the output read, while
            // `is_at_work` holds.
            match Status::check(unsafe { (self.library.functions.submit_job)(self.raw()) }) {
                Ok(()) => {
                    self.is_at_work = true;
                    return Ok(());
                }
                Err(Status::QUEUES_ARE_BUSY) => std::hint::spin_loop(),
                Err(other) => {
                    status = other;
                    break;
                }
            }
        }
        Err(status)
    }

    fn wait(&mut self) -> Result<usize, Status> {
        if !self.is_at_work {
            return Err(Status::INTERNAL);
        }
        // SAFETY: the job was submitted. Its buffers are alive, as `submit` demands.
        let status = unsafe { (self.library.functions.wait_job)(self.raw()) };
        self.is_at_work = false;
        self.result(status)
    }

    /// Waits for a job that is still at work; what came of it does not matter.
    fn settle(&mut self) {
        if self.is_at_work {
            let _ = self.wait();
        }
    }

    /// How many bytes a job that is done has written.
    fn result(&self, status: u32) -> Result<usize, Status> {
        Status::check(status)?;
        // SAFETY: the job is done, so that nobody writes to the structure.
        let written = unsafe { self.memory.job.as_ref() }.total_out;
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        if written > self.room {
            return Err(Status::INTERNAL);
        }
        Ok(written)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.settle();
        // SAFETY: the job was initialised in `new`, is not at work, and is not used any more.
        unsafe { (self.library.functions.fini_job)(self.raw()) };
    }
}

/// The memory of a job: the structure, and behind it what the library keeps.
struct Memory {
    job: NonNull<RawJob>,
    lines: usize,
}

impl Memory {
    fn new(size: usize) -> Self {
        let lines = size.max(size_of::<RawJob>()).div_ceil(size_of::<Line>());
        let memory = Box::leak(vec![Line::default(); lines].into_boxed_slice());
        Self {
            job: NonNull::from(memory).cast(),
            lines,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let memory = ptr::slice_from_raw_parts_mut(self.job.as_ptr().cast::<Line>(), self.lines);
        // SAFETY: `new` took it out of a box of as many lines, and nothing refers to it any more.
        drop(unsafe { Box::from_raw(memory) });
    }
}

/// A cache line, of which the memory of a job is a whole number.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Default for Line {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// What new memory is filled with. Zeros might not be in memory before they are touched, and a device would
/// fault on them.
const FRESH: u8 = 0xff;
/// How often a job is offered to full work queues before it is done otherwise. More than a few
/// would keep a processor waiting that could as well compress.
const SUBMISSIONS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in;

    const PAGE: usize = 4096;

    fn queue(count: usize) -> Queue {
        let mut queue = Queue::new(&stand_in::library(), count, PAGE, PAGE).unwrap();
        queue.input_mut().fill(b'p');
        queue
    }

    #[test]
    fn a_page_goes_there_and_back() {
        let library = stand_in::library();
        let mut job = SoftwareJob::new(&library).unwrap();
        let (page, mut stream, mut back) = ([7; PAGE], [0; PAGE], [0; PAGE]);
        let length = job.run(Operation::Compress, &page, &mut stream).unwrap();
        let stream = &stream[..length];
        assert_eq!(job.run(Operation::Decompress, stream, &mut back), Ok(PAGE));
        assert_eq!(back, page);
        let no_room = job.run(Operation::Decompress, stream, &mut back[1..]);
        assert!(no_room.unwrap_err().is_no_room());
    }

    #[test]
    fn nothing_is_freed_or_shown_while_a_device_works_with_it() {
        let mut queue = queue(3);
        for slot in 0..3 {
            queue
                .submit(slot, Operation::Compress, 0..PAGE, PAGE)
                .unwrap();
            assert_eq!(queue.output(slot), None);
        }
        assert_eq!(stand_in::at_work(), 3);
        assert!(queue.wait(1).is_ok());
        assert!(queue.output(1).is_some());
        // Each of these waits for what it needs, and the end for all.
        assert!(queue.by_hand(0, 0..PAGE).is_some());
        assert_eq!(stand_in::at_work(), 1);
        queue.input_mut().fill(0);
        assert_eq!(stand_in::at_work(), 0);
        queue.submit(2, Operation::Compress, 0..PAGE, PAGE).unwrap();
        drop(queue);
        assert_eq!(stand_in::at_work(), 0);
        assert_eq!(stand_in::jobs(), 0);
    }

    #[test]
    fn a_slot_that_is_used_again_is_waited_for() {
        let mut queue = queue(1);
        for _ in 0..3 {
            queue.submit(0, Operation::Compress, 0..PAGE, PAGE).unwrap();
        }
        assert_eq!(stand_in::at_work(), 1);
        assert!(queue.wait(0).is_ok());
        assert_eq!(queue.wait(0), Err(Status::INTERNAL), "nothing to wait for");
    }

    #[test]
    fn full_queues_are_tried_a_few_times() {
        let mut queue = queue(2);
        stand_in::set_depth(1);
        let submit = |queue: &mut Queue, slot| {
            let before = stand_in::submissions();
            let result = queue.submit(slot, Operation::Compress, 0..PAGE, PAGE);
            (result, stand_in::submissions() - before)
        };
        assert_eq!(submit(&mut queue, 0), (Ok(()), 1));
        let busy = Err(Status::QUEUES_ARE_BUSY);
        assert_eq!(submit(&mut queue, 1), (busy, SUBMISSIONS));
        assert!(queue.output(1).is_some(), "it was not submitted");
        assert!(queue.wait(0).is_ok());
        assert_eq!(submit(&mut queue, 1), (Ok(()), 1));
    }

    #[test]
    fn what_is_out_of_bounds_is_not_submitted() {
        let mut queue = queue(1);
        for (slot, input, room) in [(1, 0..1, 1), (0, 0..PAGE + 1, 1), (0, 0..1, PAGE + 1)] {
            let refused = queue.submit(slot, Operation::Compress, input, room);
            assert_eq!(refused, Err(Status::INTERNAL));
        }
        assert_eq!(stand_in::submissions(), 0);
        assert!(queue.by_hand(0, 0..PAGE + 1).is_none());
    }
}
