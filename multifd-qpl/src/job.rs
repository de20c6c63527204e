// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A job of libqpl: one page to compress or to decompress.
//!
//! A [`SoftwareJob`] is done when its call returns. A [`Job`] of the hardware path is given to a device, and
//! asked whether it is done; whoever makes it keeps the memory that it reads and writes until it is.

#![allow(
    unsafe_code,
    reason = "jobs are made by a C library and worked at by a device, both of which take pointers"
)]

use std::hint;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::abi::{
    FLAG_FIRST, FLAG_LAST, FLAG_OMIT_VERIFY, LEVEL_DEFAULT, OP_COMPRESS, OP_DECOMPRESS,
    PATH_HARDWARE, PATH_SOFTWARE, RawJob,
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

    /// Does it, and returns how many bytes of `room` were written.
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
        job.set(operation, 0, input, room)?;
        // SAFETY: the job was initialised in `Job::new`. Its pointers and lengths are those of two slices
        // that are borrowed until this function ends, and a job of the software path is done when
        // the call returns.
        let status = unsafe { (job.library.functions.execute_job)(job.raw()) };
        job.result(status)
    }
}

/// An initialised `qpl_job`.
///
/// Its memory comes last, so that it is freed last.
pub(crate) struct Job {
    /// Bytes that it may write.
    room: usize,
    state: State,
    library: Arc<Library>,
    memory: Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was given to it, or what came of it has been asked for.
    Idle,
    /// From a submission that was accepted until the device says that it is done.
    AtWork,
    /// It is done, and nobody has asked for what came of it.
    Done(Result<usize, Status>),
}

impl Job {
    /// Makes a job for a device.
    ///
    /// # Errors
    /// The library's.
    pub(crate) fn for_device(library: &Arc<Library>) -> Result<Self, Status> {
        Self::new(library, PATH_HARDWARE)
    }

    fn new(library: &Arc<Library>, path: u32) -> Result<Self, Status> {
        let mut size = 0;
        // SAFETY: the function writes one number, which lives over the call.
        Status::check(unsafe { (library.functions.get_job_size)(path, &raw mut size) })?;
        let memory = Memory::new(usize::try_from(size).map_err(|_| Status::INTERNAL)?);
        // SAFETY: the memory is zeroed, aligned, and of the size that the library asked for.
        Status::check(unsafe { (library.functions.init_job)(path, memory.job.as_ptr()) })?;
        Ok(Self {
            room: 0,
            state: State::Idle,
            library: Arc::clone(library),
            memory,
        })
    }

    /// Whether a device works at it, or may.
    pub(crate) fn is_at_work(&self) -> bool {
        self.state == State::AtWork
    }

    fn raw(&mut self) -> *mut RawJob {
        self.memory.job.as_ptr()
    }

    /// Says what is to be done, and by the devices of which node. Nothing is read or written yet.
    ///
    /// # Errors
    /// A device still works at it, or there is more than a job takes.
    pub(crate) fn set(
        &mut self,
        operation: Operation,
        node: i32,
        input: &[u8],
        room: &mut [u8],
    ) -> Result<(), Status> {
        if self.is_at_work() {
            return Err(Status::INTERNAL);
        }
        self.state = State::Idle;
        let too_long = |_| Status::INTERNAL;
        let available_in = u32::try_from(input.len()).map_err(too_long)?;
        let available_out = u32::try_from(room.len()).map_err(too_long)?;
        // SAFETY: the memory holds an initialised job that nobody works at: `&mut self`, and no device does, as
        // was just seen.
        let raw = unsafe { self.memory.job.as_mut() };
        raw.next_in = input.as_ptr();
        raw.available_in = available_in;
        raw.total_in = 0;
        raw.next_out = room.as_mut_ptr();
        raw.available_out = available_out;
        raw.total_out = 0;
        raw.numa_id = node;
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

    /// Gives a job that is set to the device, in one attempt.
    ///
    /// # Safety
    /// The buffers that it was set with are neither freed nor written to, and the output is not read, until
    /// [`Self::is_at_work`] is false; if that never comes, never.
    ///
    /// # Errors
    /// The library's, [`Status::QUEUES_ARE_BUSY`] if there is no place in a work queue.
    pub(crate) unsafe fn submit(&mut self) -> Result<(), Status> {
        // SAFETY: the job is initialised and set, and the caller keeps its buffers.
        Status::check(unsafe { (self.library.functions.submit_job)(self.raw()) })?;
        self.state = State::AtWork;
        Ok(())
    }

    /// Waits until a job that was submitted is done, and returns how many bytes it wrote.
    ///
    /// # Errors
    /// The device's or the library's; [`Status::SILENT`] if it is not done within `limit`; also if nothing was
    /// submitted.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<usize, Status> {
        self.settle(limit)?;
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Done(result) => result,
            _ => Err(Status::INTERNAL),
        }
    }

    /// Waits for a job that is still at work; what came of it is kept.
    ///
    /// # Errors
    /// [`Status::SILENT`].
    pub(crate) fn settle(&mut self, limit: Duration) -> Result<(), Status> {
        // The time is asked for now and then: a page takes the device a few microseconds.
        let mut start = None;
        while self.state == State::AtWork {
            for _ in 0..CHECKS {
                // SAFETY: the job was submitted. Its buffers are alive, as `submit` demands.
                let status = unsafe { (self.library.functions.check_job)(self.raw()) };
                if status != Status::BEING_PROCESSED {
                    self.state = State::Done(self.result(status));
                    return Ok(());
                }
                hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() > limit {
                return Err(Status::SILENT);
            }
        }
        Ok(())
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
    /// A job that is at work is left alone with its memory: the device may yet write to it.
    fn drop(&mut self) {
        if self.is_at_work() {
            self.memory.keep();
            return;
        }
        // SAFETY: the job was initialised in `new`, is not at work, and is not used any more.
        unsafe { (self.library.functions.fini_job)(self.raw()) };
    }
}

/// The memory of a job: the structure, and behind it what the library keeps.
struct Memory {
    job: NonNull<RawJob>,
    lines: usize,
    /// Whether it stays for ever.
    is_kept: bool,
}

impl Memory {
    fn new(size: usize) -> Self {
        let lines = size.max(size_of::<RawJob>()).div_ceil(size_of::<Line>());
        let memory = Box::leak(vec![Line::default(); lines].into_boxed_slice());
        Self {
            job: NonNull::from(memory).cast(),
            lines,
            is_kept: false,
        }
    }

    fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
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

/// How often a job is looked at before the time is.
const CHECKS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_in;

    #[test]
    fn a_page_goes_there_and_back() {
        const PAGE: usize = 4096;
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
}
