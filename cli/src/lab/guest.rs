// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The memories of a measured migration: the source's and the destination's.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::thread;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::lab::fill;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Two memfds of the same length, which child processes inherit.
pub(crate) struct Guest {
    source: File,
    destination: File,
    len: u64,
}

impl Guest {
    /// Makes the memories and fills the source's.
    pub(crate) fn new(len: u64, fill_paths: &[PathBuf]) -> anyhow::Result<Self> {
        let guest = Self::empty(len)?;
        guest.fill(fill_paths)?;
        Ok(guest)
    }

    /// Fills the source's memory; again, if a guest that ran has written to it.
    pub(crate) fn fill(&self, fill_paths: &[PathBuf]) -> anyhow::Result<()> {
        fill::fill(&self.source, self.len, fill_paths)
    }

    /// Makes the memories, to be filled by the caller.
    pub(crate) fn empty(len: u64) -> anyhow::Result<Self> {
        check_available(2 * len)?;
        Ok(Self {
            source: memory("source", len)?,
            destination: memory("destination", len)?,
            len,
        })
    }

    pub(crate) fn source(&self) -> &File {
        &self.source
    }

    pub(crate) fn destination(&self) -> &File {
        &self.destination
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The source's memory, as a child process names it.
    pub(crate) fn source_path(&self) -> String {
        path(&self.source)
    }

    /// The destination's memory, as a child process names it.
    pub(crate) fn destination_path(&self) -> String {
        path(&self.destination)
    }

    /// Gives every byte of the destination another value than it has at the source. So a byte that
    /// no migration writes is found, and the pages are there already: how fast the kernel makes new
    /// ones is not what is measured.
    pub(crate) fn spoil_destination(&self) -> io::Result<()> {
        let spoiled = in_parts(self.len, |range| {
            let mut chunk = vec![0; CHUNK_LEN];
            each_chunk(range, &mut chunk, |offset, chunk| {
                self.source.read_exact_at(chunk, offset)?;
                chunk.iter_mut().for_each(|byte| *byte = !*byte);
                self.destination.write_all_at(chunk, offset)?;
                Ok(None::<()>)
            })
        });
        spoiled.map(|_| ())
    }

    /// The offset of the first byte that differs.
    pub(crate) fn first_difference(&self) -> io::Result<Option<u64>> {
        in_parts(self.len, |range| {
            let mut here = vec![0; CHUNK_LEN];
            let mut there = vec![0; CHUNK_LEN];
            each_chunk(range, &mut here, |offset, here| {
                let there = there.get_mut(..here.len()).unwrap_or_default();
                self.source.read_exact_at(here, offset)?;
                self.destination.read_exact_at(there, offset)?;
                if *here == *there {
                    return Ok(None);
                }
                let at = here.iter().zip(there.iter()).position(|(a, b)| a != b);
                Ok(at.map(|at| offset + at as u64))
            })
        })
    }
}

/// Runs `work` on a part of the range in each of several threads; answers the first part's answer
/// that is one.
fn in_parts<T: Send>(
    len: u64,
    work: impl Fn(Range<u64>) -> io::Result<Option<T>> + Sync,
) -> io::Result<Option<T>> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let part = len.div_ceil(threads.min(MOST_THREADS)).max(1);
    thread::scope(|scope| {
        let starts = (0..len).step_by(usize::try_from(part).unwrap_or(usize::MAX));
        let parts: Vec<_> = starts
            .map(|start| {
                scope.spawn({
                    let work = &work;
                    move || work(start..(start + part).min(len))
                })
            })
            .collect();
        let mut first = None;
        for part in parts {
            let answer = part
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            first = first.or(answer);
        }
        Ok(first)
    })
}

/// Goes through a range chunk by chunk until there is an answer.
fn each_chunk<T>(
    range: Range<u64>,
    chunk: &mut [u8],
    mut work: impl FnMut(u64, &mut [u8]) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        let len = left.min(chunk.len());
        let answer = work(offset, chunk.get_mut(..len).unwrap_or_default())?;
        if answer.is_some() {
            return Ok(answer);
        }
        offset += len as u64;
    }
    Ok(None)
}

/// Stays in the processor's cache.
const CHUNK_LEN: usize = 256 * 1024;
/// More do not make memory faster.
const MOST_THREADS: u64 = 8;

/// A memfd that child processes inherit. Nobody can make it shorter, so that a source need not copy pages
/// before it looks at them.
pub(crate) fn memory(name: &str, len: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MemfdFlags::ALLOW_SEALING)?);
    file.set_len(len)?;
    fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file)
}

fn path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Refuses what would make the kernel kill processes.
pub(crate) fn check_available(need: u64) -> anyhow::Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        });
    match kib.map(|kib| kib << 10) {
        Some(have) if have < need => {
            let mib = |bytes: u64| bytes >> 20;
            let what = format!(
                "source and destination need {} MiB of memory, {} MiB are available",
                mib(need),
                mib(have)
            );
            Err(Failure::new(ExitCode::Local, what)
                .hint("take a smaller guest: --memory 256M")
                .into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_wherever_it_is() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("file"), b"content of a guest").unwrap();
        let len = 3 * CHUNK_LEN as u64 + 4096;
        let guest = Guest::new(len, &[data.path().into()]).unwrap();

        guest.spoil_destination().unwrap();
        assert_eq!(guest.first_difference().unwrap(), Some(0));
        let mut all = vec![0; usize::try_from(len).unwrap()];
        guest.source.read_exact_at(&mut all, 0).unwrap();
        let mut spoiled = all.clone();
        guest.destination.read_exact_at(&mut spoiled, 0).unwrap();
        assert!(all.iter().zip(&spoiled).all(|(here, there)| here != there));

        for at in [len - 1, len / 2, CHUNK_LEN as u64, 0] {
            guest.destination.write_all_at(&all, 0).unwrap();
            assert_eq!(guest.first_difference().unwrap(), None);
            let other = !all[usize::try_from(at).unwrap()];
            guest.destination.write_all_at(&[other], at).unwrap();
            assert_eq!(guest.first_difference().unwrap(), Some(at));
        }
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        let error = Guest::new(1 << 60, &[]).err().unwrap();
        assert!(error.to_string().contains("are available"), "{error}");
    }
}
