// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Checking a guest's memory.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::page::{FIRST, Kind, PAGE, WORDS, page};

/// What the memory of a guest that has stopped says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The pass that was under way.
    pub pass: u32,
    /// How far it had come.
    pub border: Border,
}

/// The word that the guest would have written next, or a later one if the words until there are the same
/// in both passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Border {
    /// The page's address.
    pub address: u64,
    /// The word in the page.
    pub word: usize,
}

/// Checks every word of a guest that has stopped. `memory` is what is between [`FIRST`] and its limit.
///
/// There is one place, the border, up to which everything is of one pass and behind which everything
/// is of the pass before. A page that was lost, is stale, or was put together from two copies makes a
/// second border, and is found; so is one that came to the wrong place, for the words depend on the
/// address. What is not found is memory as a whole from an earlier moment: whoever checks compares the
/// pass with what the guest has printed.
///
/// # Errors
/// The pages that are wrong, the first ones with what is wrong about them.
pub fn check(memory: &[u8]) -> Result<Snapshot> {
    ensure!(
        memory.len() >= 2 * PAGE && memory.len().is_multiple_of(PAGE),
        "{} bytes are not the memory of the guest",
        memory.len()
    );
    // The first page with counters is the first one that a pass writes.
    let pass = memory
        .get(PAGE..PAGE + 4)
        .and_then(|word| word.first_chunk());
    let pass = u32::from_le_bytes(*pass.context("no page with counters")?);
    ensure!(pass > 0, "the guest has not started to count");

    let mut border = None;
    let mut wrong = Vec::new();
    for (number, bytes) in memory.chunks_exact(PAGE).enumerate() {
        let address = FIRST + (number * PAGE) as u64;
        let got = words(bytes);
        let (new, old) = (page(address, pass), page(address, pass - 1));
        let fits = match border {
            None if got == new => true,
            None => match same_words(&got, &new) {
                word if got.get(word..) == old.get(word..) => {
                    border = Some(Border { address, word });
                    true
                }
                _ => false,
            },
            Some(_) => got == old,
        };
        if !fits {
            wrong.push((address, got));
        }
    }
    if !wrong.is_empty() {
        anyhow::bail!(complaint(pass, border, &wrong));
    }
    let end = Border {
        address: FIRST + memory.len() as u64,
        word: 0,
    };
    Ok(Snapshot {
        pass,
        border: border.unwrap_or(end),
    })
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks_exact(4).map(|word| word.first_chunk());
    words
        .map(|word| word.map_or(0, |word| u32::from_le_bytes(*word)))
        .collect()
}

/// How many words at the front of two pages are the same.
fn same_words(one: &[u32], other: &[u32]) -> usize {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    differs.unwrap_or(WORDS)
}

/// Says which pages are wrong, and what the first of them look like.
fn complaint(pass: u32, border: Option<Border>, wrong: &[(u64, Vec<u32>)]) -> String {
    let place = match border {
        Some(border) => format!("the border at {:#x}, word {}", border.address, border.word),
        None => "no border".to_owned(),
    };
    let mut text = format!("{} pages are wrong in pass {pass}, {place}:", wrong.len());
    for (address, got) in wrong.iter().take(8) {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n  {address:#x}, {:?}: {}",
            Kind::of(*address),
            describe(*address, got, pass)
        );
    }
    text
}

fn describe(address: u64, got: &[u32], pass: u32) -> String {
    let head = got.first().copied().unwrap_or(0);
    // A page of another pass is recognised by its own number, or as one of the last few.
    let passes = (pass.saturating_sub(64)..=pass + 1).chain([head]);
    for candidate in passes {
        if got == page(address, candidate) {
            return format!("is that of pass {candidate}");
        }
    }
    if got.iter().all(|word| *word == 0) {
        return "is zero".to_owned();
    }
    let word = same_words(got, &page(address, head));
    let value = got.get(word).copied().unwrap_or(0);
    format!("starts as in pass {head}, but word {word} is {value:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: usize = 64;

    /// Memory in which `pass` has come to `border`, a page and a word in it.
    fn memory(pass: u32, border: (usize, usize)) -> Vec<u32> {
        let pages = (0..PAGES).flat_map(|number| {
            let address = FIRST + (number * PAGE) as u64;
            let (new, old) = (page(address, pass), page(address, pass - 1));
            let done = match number.cmp(&border.0) {
                std::cmp::Ordering::Less => WORDS,
                std::cmp::Ordering::Equal => border.1,
                std::cmp::Ordering::Greater => 0,
            };
            [&new[..done], &old[done..]].concat()
        });
        pages.collect()
    }

    fn checked(words: &[u32]) -> Result<Snapshot> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        check(&bytes)
    }

    fn refused(words: &[u32], part: &str) {
        let error = checked(words).unwrap_err().to_string();
        assert!(error.contains(part), "wanted {part:?}: {error}");
    }

    #[test]
    fn the_border_is_found() {
        for pass in [1, 2, 7, 1000] {
            for (page, word) in [(1, 1), (9, 0), (22, 512), (21, 1023), (22, 2)] {
                let snapshot = checked(&memory(pass, (page, word))).unwrap();
                assert_eq!(snapshot.pass, pass);
                let address = FIRST + (page * PAGE) as u64;
                assert_eq!(snapshot.border, Border { address, word });
            }
            let end = checked(&memory(pass, (PAGES, 0))).unwrap();
            assert_eq!(end.border.address, FIRST + (PAGES * PAGE) as u64);
        }
    }

    #[test]
    fn a_stale_page_is_found_before_and_behind_the_border() {
        let good = memory(9, (30, 100));
        for number in [2, 3, 6, 7, 29, 31, 33, 62] {
            for pass in [0, 3, 7, 10] {
                let mut bad = good.clone();
                let address = FIRST + (number * PAGE) as u64;
                let stale = page(address, pass);
                // After two odd passes such a page is the same.
                if stale == bad[number * WORDS..][..WORDS] {
                    continue;
                }
                bad[number * WORDS..][..WORDS].copy_from_slice(&stale);
                refused(&bad, "pages are wrong");
            }
        }
    }

    #[test]
    fn a_page_of_two_copies_is_found() {
        let good = memory(9, (30, 100));
        let newer = memory(10, (PAGES, 0));
        for number in [9, 13, 14, 30, 45] {
            for word in [1, 500, 1023] {
                let mut bad = good.clone();
                let at = number * WORDS;
                bad[at..at + word].copy_from_slice(&newer[at..at + word]);
                refused(&bad, &format!("{:#x}", FIRST + (number * PAGE) as u64));
            }
        }
    }

    #[test]
    fn swapped_lost_and_overwritten_pages_are_found() {
        let good = memory(8, (40, 0));
        let mut bad = good.clone();
        let (one, other) = (3 * WORDS, 11 * WORDS);
        for word in 0..WORDS {
            bad.swap(one + word, other + word);
        }
        refused(&bad, "0x103000, Noise");
        let mut bad = good.clone();
        bad[4 * WORDS..][..WORDS].fill(0);
        refused(&bad, "is that of pass 0");
        for word in [0, 1, 2, 700, 1023] {
            let mut bad = good.clone();
            bad[5 * WORDS + word] ^= 0x1000;
            refused(&bad, "0x105000, HalfNoise");
            let mut bad = good.clone();
            bad[8 * WORDS + word] = 1;
            refused(&bad, "0x108000, Untouched");
        }
        refused(&vec![0; PAGES * WORDS], "has not started");
    }
}
