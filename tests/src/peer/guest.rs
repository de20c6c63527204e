// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a test asks about the guest that counts.

use std::fs;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Qemu;
use super::builder::SERIAL;
use crate::guest;

impl Qemu {
    /// What the guest has printed on its serial port since this process started: a letter for each
    /// pass that it has completed here.
    ///
    /// # Errors
    ///
    /// The machine does not [`boot`](super::Builder::boot) anything, or the guest printed something
    /// else: another letter than the one after the last, or the last one again.
    pub fn passes(&self) -> Result<Passes> {
        let path = self.folder().join(SERIAL);
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        Passes::new(&text)
    }

    /// Waits until the guest has completed this many passes here, and answers what it has printed.
    ///
    /// # Errors
    ///
    /// As [`Qemu::passes`], and if it does not come so far within a minute.
    pub fn wait_passes(&mut self, count: usize) -> Result<Passes> {
        let start = Instant::now();
        loop {
            let passes = self.passes()?;
            if passes.count >= count {
                return Ok(passes);
            }
            ensure!(
                start.elapsed() < LIMIT,
                "the guest has completed {} passes of {count} in {LIMIT:?}; {:?}; QEMU's stderr: {:?}",
                passes.count,
                self.execute("query-status", json!({})),
                self.stderr()
            );
            thread::sleep(POLL);
        }
    }

    /// Reads guest memory by physical addresses. What changes meanwhile is read sooner or later: the
    /// guest should be stopped.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn physical_memory(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let path = self.folder().join("pmemsave");
        let arguments = json!({
            "val": range.start,
            "size": range.end - range.start,
            "filename": path,
        });
        self.execute("pmemsave", arguments)?;
        let bytes = fs::read(&path)?;
        fs::remove_file(&path)?;
        Ok(bytes)
    }

    /// Whether the guest runs, is stopped, or what else: `running`, `paused`, `postmigrate` and others.
    ///
    /// # Errors
    ///
    /// As [`Qemu::execute`].
    pub fn run_state(&mut self) -> Result<String> {
        let answer = self.execute("query-status", json!({}))?;
        let status = answer.get("status").and_then(serde_json::Value::as_str);
        Ok(status.context("query-status without a status")?.to_owned())
    }
}

/// The passes that a guest has completed in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// How many.
    pub count: usize,
    /// The letter of the first; nothing if there is none.
    first: Option<u8>,
}

impl Passes {
    fn new(text: &[u8]) -> Result<Self> {
        let mut letters = text.iter().filter(|byte| !byte.is_ascii_whitespace());
        let first = letters.next().copied();
        ensure!(
            first.is_none_or(|letter| letter.is_ascii_uppercase()),
            "the guest printed {first:?}"
        );
        let mut count = usize::from(first.is_some());
        let mut last = first.unwrap_or_default();
        for letter in letters {
            ensure!(
                *letter == after(last),
                "the guest printed {:?} after {:?}, letter {count}",
                char::from(*letter),
                char::from(last)
            );
            last = *letter;
            count += 1;
        }
        Ok(Self { count, first })
    }

    /// Whether a guest that completed these passes at a source and those after it went on as if
    /// nothing had been: no pass is missing, and none was done twice.
    ///
    /// # Errors
    ///
    /// The letters that do not fit.
    pub fn go_on_with(&self, later: &Self) -> Result<()> {
        let wanted = guest::letter(u32::try_from(self.count)?.wrapping_add(1));
        ensure!(
            later.first.is_none_or(|first| first == wanted),
            "after {} passes the guest printed {:?} first, wanted {:?}",
            self.count,
            later.first.map(char::from),
            char::from(wanted)
        );
        Ok(())
    }
}

fn after(letter: u8) -> u8 {
    if letter == b'Z' { b'A' } else { letter + 1 }
}

/// A pass takes some 20 ms without KVM.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_and_checked() {
        let passes = Passes::new(b"YZABC").unwrap();
        assert_eq!(passes.count, 5);
        assert_eq!(Passes::new(b"").unwrap().count, 0);
        for text in ["AC", "AA", "ZB", "A?", "ab"] {
            assert!(Passes::new(text.as_bytes()).is_err(), "{text}");
        }
        let at_source = Passes::new(b"ABC").unwrap();
        at_source.go_on_with(&Passes::new(b"DEF").unwrap()).unwrap();
        at_source.go_on_with(&Passes::new(b"").unwrap()).unwrap();
        for text in ["CDE", "EF", "A"] {
            let later = Passes::new(text.as_bytes()).unwrap();
            assert!(at_source.go_on_with(&later).is_err(), "{text}");
        }
    }
}
