// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Has memory written to the disk while it arrives, so that little is left to do at the end: then the guest
//! stands still, and the source waits.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use multifd_core::memory::start_writeback;

use super::sparse;

/// A thread that has files written to the disk, again and again until it is dropped.
///
/// Errors of the disk are not its business: whoever syncs a file at the end is told of them.
pub(crate) struct Writeback {
    /// Never sent to: its end is the sign.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writeback {
    /// Starts with those of the files that are on a disk; `None` if there are none.
    pub(crate) fn start<'f>(files: impl Iterator<Item = &'f File>) -> anyhow::Result<Option<Self>> {
        let mut on_disk = Vec::new();
        for file in files {
            if !sparse::is_memory(file)? {
                on_disk.push(file.try_clone()?);
            }
        }
        if on_disk.is_empty() {
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let write = move |file: &File| start_writeback(file.as_fd());
        let thread = thread::Builder::new()
            .name("writeback".into())
            .spawn(move || run(&on_disk, &stopped, PAUSE, write))?;
        Ok(Some(Self {
            stop: Some(stop),
            thread: Some(thread),
        }))
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that writes to the disk has panicked");
        }
    }
}

/// Writes all files in turn until the other end of `stopped` is gone.
fn run(
    files: &[File],
    stopped: &Receiver<()>,
    shortest: Duration,
    write: impl Fn(&File) -> io::Result<()>,
) {
    let mut pause = shortest;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let start = Instant::now();
        for file in files {
            if let Err(error) = write(file) {
                log::debug!("the disk is not written to ahead: {error}");
                return;
            }
        }
        // Where looking for what is dirty takes long, it is done less often.
        pause = shortest.max(start.elapsed());
    }
}

/// What arrives within it is what a disk that is fast enough still has to write at the end.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_files_are_written_again_and_again() {
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let (stop, stopped) = mpsc::channel();
        let writes = AtomicUsize::new(0);
        let (files, writes) = (&files, &writes);
        thread::scope(|scope| {
            scope.spawn(move || {
                run(files, &stopped, Duration::ZERO, |_| {
                    writes.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
            });
            while writes.load(Ordering::Relaxed) < 6 {
                thread::yield_now();
            }
            drop(stop);
        });
        assert_eq!(writes.load(Ordering::Relaxed) % files.len(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_left_alone() {
        let files = [tempfile::tempfile().unwrap()];
        // It comes back though nobody stops it.
        let (_stop, stopped) = mpsc::channel();
        run(&files, &stopped, Duration::ZERO, |_| {
            Err(io::ErrorKind::Unsupported.into())
        });
    }

    #[test]
    fn memory_is_not_written_anywhere() {
        let memory = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC);
        let memory = File::from(memory.unwrap());
        assert!(Writeback::start([&memory].into_iter()).unwrap().is_none());
    }
}
