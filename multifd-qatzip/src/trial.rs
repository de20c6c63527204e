// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a device does what it is wanted for, tried on a page of this module's own.

use std::thread;
use std::time::Duration;

use multifd_core::method::Fallback;
use qatzip_sys::{Buffer, Config, Library};

use crate::attempt::{Trouble, Work, attempt};

/// Has a device compress and decompress a page: that there is one does not say that it does. One session
/// does both, in memory that the device reaches.
///
/// # Errors
/// What it did wrong, or what is missing.
pub(crate) fn run(library: &Library, level: u8) -> Result<(), String> {
    let mut why = String::new();
    for _ in 0..TRIES {
        match round_trip(library, level) {
            Ok(()) => return Ok(()),
            // Other migrations of this process may have all instances for a moment.
            Err(trouble) if trouble.reason == Fallback::Busy => {
                why = trouble.what;
                thread::sleep(PAUSE);
            }
            Err(trouble) => return Err(trouble.what),
        }
    }
    Err(why)
}

fn round_trip(library: &Library, level: u8) -> Result<(), Trouble> {
    let mut session = library.session(Config::new(level))?;
    // After the session: a library that has opened no device yet has no memory for one.
    let buffer = || library.buffer(2 * PAGE).ok_or_else(no_memory);
    let (mut page, mut members, mut again) = (buffer()?, buffer()?, buffer()?);
    fill(&mut page, &[CONTENT; PAGE])?;
    let made = attempt(&mut session, Work::Compress, &page, PAGE, &mut members)?;
    let back = Work::Decompress(PAGE);
    attempt(&mut session, back, &members, made.len, &mut again)?;
    if again.get(..PAGE) == page.get(..PAGE) {
        Ok(())
    } else {
        Err(Trouble::lost(
            "the QAT device does not give back what it compressed",
        ))
    }
}

/// What a new session of a channel is tried on, so that the library sets up then what it sets up with the
/// first packet.
///
/// # Errors
/// The session cannot be used.
pub(crate) fn warm_up(
    session: &mut qatzip_sys::Session,
    work: Work,
    input: &mut Buffer,
    output: &mut Buffer,
) -> Result<(), Trouble> {
    let (content, work) = match work {
        Work::Compress => (&[CONTENT; PAGE][..], work),
        _ => (&A_PAGE[..], Work::Decompress(PAGE)),
    };
    fill(input, content)?;
    match attempt(session, work, input, content.len(), output) {
        Err(trouble) if trouble.is_lost => Err(trouble),
        _ => Ok(()),
    }
}

fn fill(buffer: &mut Buffer, content: &[u8]) -> Result<(), Trouble> {
    let room = buffer.get_mut(..content.len());
    room.ok_or_else(no_memory)?.copy_from_slice(content);
    Ok(())
}

/// A session with a device gets no other memory.
pub(crate) fn no_memory() -> Trouble {
    Trouble::no_device("there is no memory left that the QAT device reaches")
}

/// How often, and after what pause, a device is asked whose instances are all taken.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(5);

/// Bytes of the trial ..
const PAGE: usize = 4096;
/// .. each of which is this one.
const CONTENT: u8 = 0;

/// A member with a page of zeros.
const A_PAGE: [u8; 52] = [
    0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, b'Q', b'Z', 8, 0, 0, 0x10, 0, 0, 20, 0, 0,
    0, // header
    0xed, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7, 0x4f, 0x6d, 0x0f, 0x07, 0x14, 0, 0, 0, 0xf0,
    0x6e, // data
    0x11, 0, 0x1c, 0xc7, 0, 0x10, 0, 0, // trailer
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Shape, checksums_match};

    #[test]
    fn the_page_of_the_first_try_is_one() {
        let shape = Shape::of(&A_PAGE).unwrap();
        assert_eq!(shape.not_for_device(), None);
        assert_eq!(shape.content, PAGE);
        assert!(checksums_match(&A_PAGE, &[0; PAGE]));
        let mut decoded = [1; PAGE];
        let mut decoder = multifd_deflate::Deflate::built_in().decoder();
        decoder.decode_exact(&A_PAGE[24..44], &mut decoded).unwrap();
        assert_eq!(decoded, [0; PAGE]);
    }
}
