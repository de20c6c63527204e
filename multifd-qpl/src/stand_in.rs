// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A libqpl with a device that works as late as it may: when it is asked whether a job is done.
//!
//! Each thread has a device of its own, so that tests do not meet.

#![allow(
    unsafe_code,
    reason = "it is called as a C library is, and reads and writes through the pointers in a job"
)]

use std::cell::RefCell;
use std::slice;
use std::sync::Arc;

use multifd_deflate::{Decoder, Deflate, Level};

use crate::abi::{NUMA_ANY, NUMA_AUTOMATIC, OP_COMPRESS, RawJob};
use crate::library::{Functions, Library};

#[derive(Default)]
struct Device {
    /// Jobs that were submitted and not waited for.
    at_work: Vec<usize>,
    /// How many of them there may be; no limit if it is `None`.
    depth: Option<usize>,
    /// Jobs that were initialised and not finished.
    jobs: usize,
    submissions: usize,
    /// Of so many jobs that are asked for, the last one fails so.
    failure: Option<(usize, u32)>,
    checks: usize,
    /// Whether this thread's node has no work queues.
    is_elsewhere: bool,
    /// Whether no job is ever done.
    is_silent: bool,
}

thread_local! {
    static DEVICE: RefCell<Device> = RefCell::default();
}

fn device<R>(act: impl FnOnce(&mut Device) -> R) -> R {
    DEVICE.with_borrow_mut(act)
}

pub(crate) fn library() -> Arc<Library> {
    Arc::new(Library::stand_in(Functions {
        get_job_size,
        init_job,
        execute_job,
        submit_job,
        check_job,
        fini_job,
    }))
}

/// Lets no more jobs at once be submitted.
pub(crate) fn set_depth(depth: usize) {
    device(|device| device.depth = Some(depth));
}

/// Lets every `nth` job fail.
pub(crate) fn set_failure(nth: usize, status: u32) {
    device(|device| device.failure = Some((nth, status)));
}

/// Lets only jobs for any node find a work queue.
pub(crate) fn set_other_node() {
    device(|device| device.is_elsewhere = true);
}

/// Lets no job ever be done.
pub(crate) fn set_silent() {
    device(|device| device.is_silent = true);
}

/// Does what is at work after all, though nobody asks for it any more.
pub(crate) fn work_late() {
    for job in device(|device| std::mem::take(&mut device.at_work)) {
        // SAFETY: the memory of a job that is at work, and of its buffers, is kept for ever.
        unsafe { work(std::ptr::with_exposed_provenance_mut(job)) };
    }
}

pub(crate) fn at_work() -> usize {
    device(|device| device.at_work.len())
}

pub(crate) fn jobs() -> usize {
    device(|device| device.jobs)
}

pub(crate) fn submissions() -> usize {
    device(|device| device.submissions)
}

unsafe extern "C" fn get_job_size(_path: u32, size: *mut u32) -> u32 {
    // SAFETY: the caller gives the address of a number.
    unsafe { *size = u32::try_from(size_of::<RawJob>() + 100).unwrap() };
    0
}

unsafe extern "C" fn init_job(_path: u32, _job: *mut RawJob) -> u32 {
    device(|device| device.jobs += 1);
    0
}

unsafe extern "C" fn execute_job(job: *mut RawJob) -> u32 {
    // SAFETY: the caller gives a job whose buffers are alive.
    unsafe { work(job) }
}

unsafe extern "C" fn submit_job(job: *mut RawJob) -> u32 {
    // SAFETY: the caller gives a job that nobody works at.
    let node = unsafe { (*job).numa_id };
    device(|device| {
        device.submissions += 1;
        if device
            .depth
            .is_some_and(|depth| device.at_work.len() >= depth)
        {
            return 5;
        }
        if device.is_elsewhere && node != NUMA_ANY {
            return 503;
        }
        let job = job.expose_provenance();
        assert!(!device.at_work.contains(&job), "submitted twice");
        device.at_work.push(job);
        0
    })
}

unsafe extern "C" fn check_job(job: *mut RawJob) -> u32 {
    if device(|device| device.is_silent) {
        return 1;
    }
    let failure = device(|device| {
        let known = device.at_work.iter().position(|known| *known == job.addr());
        device.at_work.remove(known.expect("a job that is at work"));
        device.checks += 1;
        let (nth, status) = device.failure?;
        device.checks.is_multiple_of(nth).then_some(status)
    });
    // SAFETY: the caller has kept the buffers alive since the submission.
    failure.unwrap_or_else(|| unsafe { work(job) })
}

unsafe extern "C" fn fini_job(job: *mut RawJob) -> u32 {
    device(|device| {
        assert!(!device.at_work.contains(&job.addr()), "finished at work");
        device.jobs -= 1;
    });
    0
}

/// # Safety
/// The job's pointers and lengths are those of buffers that nobody else uses.
unsafe fn work(job: *mut RawJob) -> u32 {
    // SAFETY: the caller's word.
    let job = unsafe { &mut *job };
    let (input, output) = (job.available_in as usize, job.available_out as usize);
    // SAFETY: the caller's word.
    let (input, output) = unsafe {
        (
            slice::from_raw_parts(job.next_in, input),
            slice::from_raw_parts_mut(job.next_out, output),
        )
    };
    assert_eq!(job.level, 1);
    assert!([0, NUMA_AUTOMATIC, NUMA_ANY].contains(&job.numa_id));
    let deflate = Deflate::built_in();
    let written = if job.operation == OP_COMPRESS {
        let mut encoder = deflate.encoder(Level::FASTEST, input.len());
        encoder.encode(input, output).ok_or(2)
    } else {
        decode(deflate.decoder(), input, output)
    };
    match written {
        Ok(written) => {
            job.total_out = u32::try_from(written).unwrap();
            0
        }
        Err(status) => status,
    }
}

fn decode(mut decoder: Decoder, input: &[u8], output: &mut [u8]) -> Result<usize, u32> {
    match decoder.decode(input, output) {
        Ok(decoded) => Ok(decoded.written),
        Err(multifd_deflate::DecodeError::TooLong { .. }) => Err(2),
        Err(_) => Err(211),
    }
}
