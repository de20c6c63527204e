// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the page tables of this process have.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// A private mapping, and `/proc/self/pagemap`, which has a word for each of its pages.
#[derive(Debug)]
pub(super) struct PageMap {
    file: File,
    base: u64,
    /// Bytes of a page of the host's.
    page: u64,
}

/// The word of a page.
#[derive(Clone, Copy)]
pub(super) struct Entry(u64);

impl Entry {
    /// Whether there is a page: in memory, swapped out, or on its way from one place to another.
    pub(super) fn is_there(self) -> bool {
        self.0 & (PRESENT | SWAPPED) != 0
    }

    /// Whether there is one that is no page of the file that is mapped.
    pub(super) fn is_own(self) -> bool {
        self.is_there() && self.0 & (PRESENT | OF_FILE) != PRESENT | OF_FILE
    }
}

impl PageMap {
    /// For private anonymous memory.
    pub(super) fn of_anonymous(base: usize, len: usize) -> io::Result<Self> {
        check(base as u64, len as u64, |mapping| {
            mapping.is_private && !mapping.is_file
        })?;
        Self::open(base)
    }

    /// For private memory.
    pub(super) fn of_private(base: usize, len: usize) -> io::Result<Self> {
        check(base as u64, len as u64, |mapping| mapping.is_private)?;
        Self::open(base)
    }

    fn open(base: usize) -> io::Result<Self> {
        // SAFETY: no memory is named.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = u64::try_from(page).ok().filter(|page| *page > 0);
        Ok(Self {
            file: File::open("/proc/self/pagemap")?,
            base: base as u64,
            page: page.ok_or(io::ErrorKind::Unsupported)?,
        })
    }

    /// Names the parts of a range of bytes whose pages are `wanted`, in order, and those of which nothing can be learnt.
    pub(super) fn for_each(
        &self,
        range: Range<u64>,
        wanted: impl Fn(Entry) -> bool,
        act: &mut dyn FnMut(Range<u64>),
    ) {
        if range.is_empty() {
            return;
        }
        let mut page = (self.base + range.start) / self.page;
        let end = (self.base + range.end).div_ceil(self.page);
        let mut run = page..page;
        let mut say = |run: Range<u64>| {
            // Of the first and the last page only a part may be meant.
            let at = |page: u64| (page * self.page).saturating_sub(self.base);
            let run = at(run.start).max(range.start)..at(run.end).min(range.end);
            if !run.is_empty() {
                act(run);
            }
        };
        let mut words = [0; ENTRIES * ENTRY];
        while page < end {
            let count = usize::try_from(end - page).map_or(ENTRIES, |left| left.min(ENTRIES));
            let words = words.get_mut(..count * ENTRY).unwrap_or_default();
            if self.file.read_exact_at(words, page * ENTRY as u64).is_err() {
                run.end = end;
                break;
            }
            let (words, _) = words.as_chunks();
            for word in words {
                if wanted(Entry(u64::from_ne_bytes(*word))) {
                    run.end = page + 1;
                } else {
                    say(run);
                    run = page + 1..page + 1;
                }
                page += 1;
            }
        }
        say(run);
    }
}

/// A mapping of this process.
struct Mapped {
    range: Range<u64>,
    is_private: bool,
    is_file: bool,
}

/// Refuses a range that is not wholly mapped so.
fn check(base: u64, len: u64, is_so: impl Fn(&Mapped) -> bool) -> io::Result<()> {
    let (mut at, end) = (base, base.saturating_add(len));
    for line in BufReader::new(File::open("/proc/self/maps")?).lines() {
        let mapping = parse(&line?).ok_or(io::ErrorKind::InvalidData)?;
        if at < end && mapping.range.contains(&at) && is_so(&mapping) {
            at = mapping.range.end;
        }
    }
    if at < end {
        let what = "memory that is mapped in another way than was said";
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    Ok(())
}

/// `7f0000000000-7f0000001000 rw-p 00000000 00:00 0 [name]`: huge pages of hugetlbfs have a file as well.
fn parse(line: &str) -> Option<Mapped> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    let inode = words.nth(2)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapped {
        range: number(start)?..number(end)?,
        is_private: access.ends_with('p'),
        is_file: inode != "0",
    })
}

/// Words that are read at once, which need no memory but the stack.
const ENTRIES: usize = 512;
const ENTRY: usize = size_of::<u64>();
/// The bits of a word that the kernel's `admin-guide/mm/pagemap` names.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::super::super::{Mapping, RamRegion as _, memfd};
    use super::*;

    const PAGES: usize = 1500;

    fn address(mapping: &Mapping) -> usize {
        mapping.base().as_ptr().addr()
    }

    fn touch(mapping: &Mapping, page: usize) {
        // SAFETY: the byte is mapped, and nobody else uses it.
        unsafe { mapping.base().add(page * 4096).write(1) };
    }

    fn parts(pages: &PageMap, range: Range<u64>, wanted: fn(Entry) -> bool) -> Vec<Range<u64>> {
        let mut all = Vec::new();
        pages.for_each(range, wanted, &mut |part| all.push(part));
        all
    }

    #[test]
    fn pages_that_are_written_to_are_there() {
        let mapping = Mapping::anonymous(PAGES * 4096).unwrap();
        let pages = PageMap::of_anonymous(address(&mapping), PAGES * 4096).unwrap();
        // A page that is touched may bring others along.
        let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        if pages.page != 4096 || huge.is_ok_and(|mode| mode.contains("[always]")) {
            return;
        }
        let all = 0..(PAGES * 4096) as u64;
        assert_eq!(parts(&pages, all.clone(), Entry::is_there), []);
        // Over the border of two reads as well.
        for page in [0, 511, 512, 513, 1499] {
            touch(&mapping, page);
        }
        let page = |first: u64, last: u64| first * 4096..(last + 1) * 4096;
        assert_eq!(
            parts(&pages, all.clone(), Entry::is_there),
            [page(0, 0), page(511, 513), page(1499, 1499)]
        );
        let part = 512 * 4096 + 7..512 * 4096 + 9;
        assert_eq!(parts(&pages, part.clone(), Entry::is_there), [part]);
        assert_eq!(parts(&pages, 4096..511 * 4096, Entry::is_there), []);
        assert_eq!(parts(&pages, 7..7, Entry::is_there), []);
    }

    #[test]
    fn what_this_process_has_a_copy_of_is_its_own() {
        let file = File::from(memfd(c"ram", 8 * 4096).unwrap());
        file.write_all_at(&[1; 4096], 2 * 4096).unwrap();
        let mapping = Mapping::private(file.as_fd(), 8 * 4096).unwrap();
        let pages = PageMap::of_private(address(&mapping), 8 * 4096).unwrap();
        if pages.page != 4096 {
            return;
        }
        // SAFETY: the byte is mapped, and nobody writes to it.
        assert_eq!(unsafe { mapping.base().add(2 * 4096).read() }, 1);
        touch(&mapping, 5);
        let (all, own) = (0..8 * 4096, 5 * 4096..6 * 4096);
        assert_eq!(parts(&pages, all, Entry::is_own), [own]);
        let error = PageMap::of_anonymous(address(&mapping), 4096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn shared_memory_and_what_is_not_mapped_are_refused() {
        let file = memfd(c"ram", 4096).unwrap();
        let mapping = Mapping::shared(file.as_fd(), 4096).unwrap();
        for (base, len) in [(address(&mapping), 4096), (0, 4096), (usize::MAX - 1, 7)] {
            let error = PageMap::of_private(base, len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_swapped_page_is_there() {
        for (word, there, own) in [
            (0, false, false),
            // Only written to since some time ago, by the kernel's own account.
            (1 << 55, false, false),
            (PRESENT, true, true),
            (SWAPPED | 1 << 55, true, true),
            (SWAPPED | OF_FILE, true, true),
            (PRESENT | OF_FILE, true, false),
        ] {
            let entry = Entry(word);
            assert_eq!((entry.is_there(), entry.is_own()), (there, own), "{word:x}");
        }
    }
}
