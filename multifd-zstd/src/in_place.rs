// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Decompressing straight into the guest's pages, which saves the copy of a private buffer.
//!
//! libzstd copies matches from what it has written before, so it reads back the guest's memory, and others may write to
//! that at any time: a device's process that has it mapped, or another channel, to which a hostile peer has sent the same
//! page. The bytes may then become wrong, as they may be anyway of a page that two write to. More must not happen, and
//! does not:
//!
//! * No length, offset or table of the format (RFC 8878) depends on decompressed content. Literals are decoded with
//!   tables that are in the payload, and sequences (how many literals, how long a match, how far back) from another part
//!   of it. Offsets are checked against how much has been written, not against what.
//! * The payload is in private memory, and so is all state of the library: tables and sequences are in its context. In
//!   the output it keeps decoded literals, which are content, too, for as long as it works on their block. That was looked
//!   up in release 1.5.7; nothing in it branches or computes an address on bytes of the output. At most it hashes them,
//!   for a checksum, which then fails.
//! * It gets the pages' exact length, and stays within that for any payload: it is meant for hostile ones.
//!
//! A destination's memory is nobody else's until all has come, so in a good migration the bytes are right, too.

#![allow(
    unsafe_code,
    reason = "the library is told where the guest's pages are"
)]

use multifd_core::memory::Span;
use multifd_core::{MethodError, PagesMut};
use zstd_safe::{DCtx, WriteBuf};

use crate::format::NAME;

/// Decompresses into `pages` if they lie side by side and `payload` is one whole frame with their content; answers
/// whether it was. If not, nothing has been written. The context has to be between two frames, and is afterwards.
///
/// # Errors
/// The frame is damaged. The pages hold anything then.
pub(crate) fn decompress(
    context: &mut DCtx<'_>,
    payload: &[u8],
    pages: &PagesMut<'_>,
) -> Result<bool, MethodError> {
    let &[run] = pages.runs() else {
        return Ok(false);
    };
    let wanted = run.len();
    let content = zstd_safe::get_frame_content_size(payload);
    let fits = content.is_ok_and(|content| content == Some(wanted as u64));
    if !fits || zstd_safe::find_frame_compressed_size(payload) != Ok(payload.len()) {
        return Ok(false);
    }
    let written = context.decompress(&mut Room(run), payload);
    match written.map_err(zstd_safe::get_error_name) {
        Ok(written) if written == wanted => Ok(true),
        Ok(written) => {
            let what = format!("{written} bytes, wanted the {wanted} of the packet's pages");
            Err(MethodError::corrupt(NAME, payload.len(), what))
        }
        Err(what) => Err(MethodError::corrupt(NAME, 0, what)),
    }
}

/// Room in the guest's memory.
struct Room<'a>(Span<'a>);

// SAFETY: the pointer and the capacity are those of a span, which is mapped and writable over its length for as long as it
// lives. What the library does there is said above. There is no slice of it: none of its bytes counts as filled.
unsafe impl WriteBuf for Room<'_> {
    fn as_slice(&self) -> &[u8] {
        &[]
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_ptr().as_ptr()
    }

    unsafe fn filled_until(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use multifd_core::memory::Mapping;
    use multifd_core::pages::PageRuns;
    use multifd_core::wire::BlockName;
    use multifd_core::{PageSize, RamBlock};

    use super::*;

    const PAGE: usize = 4096;
    /// A page before, so many, a page behind.
    const PAGES: usize = 128;

    fn block() -> RamBlock {
        let region = Arc::new(Mapping::anonymous((PAGES + 2) * PAGE).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        for at in [0, PAGES + 1] {
            page(&block, at).copy_from(&[0xa5; PAGE]);
        }
        block
    }

    fn page(block: &RamBlock, at: usize) -> Span<'_> {
        block.span((at * PAGE) as u64, PAGE).unwrap()
    }

    fn content(block: &RamBlock) -> Vec<u8> {
        let mut content = vec![0; PAGES * PAGE];
        let span = block.span(PAGE as u64, content.len()).unwrap();
        span.copy_to(&mut content);
        content
    }

    fn guards_hold(block: &RamBlock) -> bool {
        let mut bytes = [0; PAGE];
        [0, PAGES + 1].into_iter().all(|at| {
            page(block, at).copy_to(&mut bytes);
            bytes == [0xa5; PAGE]
        })
    }

    /// Pages with matches of many lengths and distances, and literals between them.
    fn text() -> Vec<u8> {
        let mut state = 1u32;
        let mut text = Vec::new();
        while text.len() < PAGES * PAGE {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = state >> 16;
            text.extend(format!("{} entry {};", number % 4099, number % 89).into_bytes());
            text.extend(state.to_be_bytes());
        }
        text.truncate(PAGES * PAGE);
        text
    }

    fn frame(content: &[u8], level: i32) -> Vec<u8> {
        let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
        let len = zstd_safe::compress(&mut frame[..], content, level).unwrap();
        frame.truncate(len);
        frame
    }

    fn offsets(order: impl Iterator<Item = usize>) -> Vec<u64> {
        order.map(|at| (at * PAGE) as u64).collect()
    }

    #[test]
    fn only_whole_frames_into_one_run() {
        let (block, text) = (block(), text());
        let mut context = DCtx::create();
        let mut runs = PageRuns::new(PageSize::X86);
        let whole = frame(&text, 1);
        let two_frames = [frame(&text[..PAGE], 1), frame(&text[PAGE..], 1)].concat();
        let longer = frame(&[&text[..], b"x"].concat(), 1);
        let mut decompress = |payload: &[u8], offsets: &[u64]| {
            runs.set(&block, offsets).unwrap();
            decompress(&mut context, payload, &runs.pages_mut())
        };
        let in_order = offsets(1..=PAGES);
        for payload in [
            &two_frames[..],
            &longer,
            &whole[..whole.len() - 1],
            b"",
            b"(",
        ] {
            assert!(!decompress(payload, &in_order).unwrap());
        }
        assert!(!decompress(&whole, &offsets((1..=PAGES).rev())).unwrap());
        assert!(content(&block).iter().all(|byte| *byte == 0));
        assert!(decompress(&whole, &in_order).unwrap());
        assert!(content(&block) == text && guards_hold(&block));
    }

    #[test]
    fn damage_stays_within_the_pages() {
        let (block, text) = (block(), text());
        let whole = frame(&text, 1);
        let mut runs = PageRuns::new(PageSize::X86);
        runs.set(&block, &offsets(1..=PAGES)).unwrap();
        let mut refused = 0;
        for at in (9..whole.len()).step_by(whole.len() / 300) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x5a;
            let mut context = DCtx::create();
            refused += usize::from(decompress(&mut context, &damaged, &runs.pages_mut()).is_err());
            assert!(guards_hold(&block), "{at}");
        }
        assert!(refused > 0);
    }

    /// Whoever else writes to the pages makes wrong bytes of them, and does no other harm.
    #[test]
    fn pages_that_change_meanwhile() {
        let (block, text) = (block(), text());
        let frames: Vec<_> = [-5, 1, 9].map(|level| frame(&text, level)).into();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut byte = 0u8;
                while !done.load(Ordering::Relaxed) {
                    byte = byte.wrapping_add(37);
                    for at in 1..=PAGES {
                        page(&block, at).copy_from(&[byte; 64]);
                    }
                }
            });
            let mut context = DCtx::create();
            let mut runs = PageRuns::new(PageSize::X86);
            runs.set(&block, &offsets(1..=PAGES)).unwrap();
            let results = frames.iter().cycle().take(60);
            let results: Vec<_> = results
                .map(|frame| decompress(&mut context, frame, &runs.pages_mut()))
                .collect();
            done.store(true, Ordering::Relaxed);
            assert!(results.into_iter().all(|result| result.unwrap()));
        });
        assert!(guards_hold(&block));
    }
}
