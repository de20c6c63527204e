// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the memory of a measured guest holds: content of real files, and zero pages between.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use multifd_core::PageSize;

use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Of the pages of a guest that has run for a while, so many of a hundred hold only zeros.
pub(crate) const ZERO_PERCENT: u64 = 15;

/// Folders that most systems have: programs, libraries, and text of all kinds.
const USUAL_FOLDERS: [&str; 3] = ["/usr/lib", "/usr/bin", "/usr/share"];

/// Fills `len` bytes of memory with the files in `paths`, in the order of their names, again and
/// again, and zero pages between. The same files make the same memory.
pub(crate) fn fill(memory: &File, len: u64, paths: &[PathBuf]) -> anyhow::Result<()> {
    let mut files = Files::new(paths);
    let mut chunk = vec![0; CHUNK_PAGES * PAGE];
    let mut page_number = 0;
    let mut offset = 0;
    while offset < len {
        let left = usize::try_from(len - offset).unwrap_or(usize::MAX);
        let room = left.min(chunk.len());
        let part = chunk.get_mut(..room).unwrap_or_default();
        for page in part.chunks_mut(PAGE) {
            if is_zero(page_number) {
                page.fill(0);
            } else {
                files.next_page(page)?;
            }
            page_number += 1;
        }
        memory.write_all_at(part, offset)?;
        offset += room as u64;
    }
    Ok(())
}

/// `paths`, or the usual folders if there are none.
pub(crate) fn or_usual(paths: &[PathBuf]) -> Vec<PathBuf> {
    if paths.is_empty() {
        USUAL_FOLDERS.map(PathBuf::from).to_vec()
    } else {
        paths.to_vec()
    }
}

/// Whether a page of the guest is a zero page. They come in runs of different lengths, as freed
/// memory does.
fn is_zero(page_number: u64) -> bool {
    let mut place = page_number % PERIOD;
    for (data, zero) in RUNS {
        if place < data {
            return false;
        }
        place -= data;
        if place < zero {
            return true;
        }
        place -= zero;
    }
    false
}

/// Runs of pages with data, and of zero pages behind each.
const RUNS: [(u64, u64); 5] = [(40, 1), (60, 3), (70, 8), (80, 16), (90, 32)];
/// The sum of all runs.
const PERIOD: u64 = 400;

const PAGE: usize = PageSize::X86.bytes();
const CHUNK_PAGES: usize = 256;

/// The content of files, one behind the other, without pages that hold only zeros: how many of
/// those there are is not for the files to say.
struct Files<'a> {
    roots: &'a [PathBuf],
    /// What has not been visited yet; the next one is the last.
    stack: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    /// Whether there was anything but zeros since all was visited the last time.
    data: bool,
}

impl<'a> Files<'a> {
    fn new(roots: &'a [PathBuf]) -> Self {
        Self {
            roots,
            stack: roots.iter().rev().cloned().collect(),
            current: None,
            data: false,
        }
    }

    fn next_page(&mut self, page: &mut [u8]) -> Result<(), Failure> {
        loop {
            self.read(page)?;
            if has_data(page) {
                return Ok(());
            }
        }
    }

    fn read(&mut self, mut room: &mut [u8]) -> Result<(), Failure> {
        while !room.is_empty() {
            let got = match &mut self.current {
                // A file that cannot be read is over.
                Some(file) => file.read(room).unwrap_or(0),
                None => 0,
            };
            if got == 0 {
                self.next_file()?;
            }
            let (read, rest) = room.split_at_mut_checked(got).unwrap_or_default();
            self.data |= has_data(read);
            room = rest;
        }
        Ok(())
    }

    /// Opens the next file; begins anew after the last one.
    fn next_file(&mut self) -> Result<(), Failure> {
        loop {
            match self.stack.pop() {
                Some(path) => {
                    if let Some(file) = self.visit(&path) {
                        self.current = Some(BufReader::with_capacity(READ_LEN, file));
                        return Ok(());
                    }
                }
                None if !self.data => return Err(nothing(self.roots)),
                None => {
                    self.data = false;
                    self.stack.extend(self.roots.iter().rev().cloned());
                }
            }
        }
    }

    /// Opens a file, or puts what is in a folder on the stack. All that is neither, and all that
    /// may not be read, is left out; links are not followed.
    fn visit(&mut self, path: &Path) -> Option<File> {
        let kind = fs::symlink_metadata(path).ok()?.file_type();
        if kind.is_dir() {
            let mut inside = entries(path).unwrap_or_default();
            inside.sort();
            self.stack.extend(inside.into_iter().rev());
        }
        kind.is_file().then(|| File::open(path).ok()).flatten()
    }
}

fn has_data(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte != 0)
}

/// Bytes that are read from a file at once.
const READ_LEN: usize = 256 * 1024;

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn nothing(roots: &[PathBuf]) -> Failure {
    let roots: Vec<_> = roots
        .iter()
        .map(|root| root.display().to_string())
        .collect();
    let what = format!("no data to fill memory with in {}", roots.join(", "));
    Failure::new(ExitCode::Local, what)
        .hint("name files or folders that can be read and hold more than zeros: --fill PATH...")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn filled(len: usize, paths: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
        let file = tempfile::tempfile().unwrap();
        fill(&file, len as u64, paths)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    #[test]
    fn the_share_of_zero_pages_is_exact() {
        assert_eq!(
            RUNS.iter().map(|(data, zero)| data + zero).sum::<u64>(),
            PERIOD
        );
        let folder = tempfile::tempdir().unwrap();
        // Half of the file is zero pages: those are left out.
        let content = [vec![0; 8 * PAGE], vec![1; 8 * PAGE]].concat();
        fs::write(folder.path().join("file"), content).unwrap();
        let bytes = filled(800 * PAGE, &[folder.path().into()]).unwrap();
        let zero = |page: &&[u8]| page.iter().all(|byte| *byte == 0);
        assert_eq!(
            bytes.chunks(PAGE).filter(zero).count() as u64,
            800 * ZERO_PERCENT / 100
        );
    }

    #[test]
    fn files_are_taken_in_order_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("b")).unwrap();
        fs::write(path("a"), [1; 100]).unwrap();
        fs::write(path("b/file"), [2; PAGE]).unwrap();
        fs::write(path("c"), [3; 28]).unwrap();
        fs::write(path("empty"), []).unwrap();
        symlink(path("a"), path("link")).unwrap();
        let once = [vec![1; 100], vec![2; PAGE], vec![3; 28]].concat();
        let want: Vec<u8> = once.iter().copied().cycle().take(3 * PAGE).collect();
        assert_eq!(filled(3 * PAGE, &[folder.path().into()]).unwrap(), want);
    }

    #[test]
    fn without_data_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_path_buf()];
        for zeros in [None, Some(0), Some(3 * PAGE)] {
            if let Some(len) = zeros {
                fs::write(folder.path().join("zeros"), vec![0; len]).unwrap();
            }
            let error = filled(PAGE, &paths).unwrap_err().to_string();
            assert!(error.contains("no data to fill memory with"), "{error}");
        }
        assert!(filled(PAGE, &["/no/such/folder".into()]).is_err());
    }
}
