// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a walk over the dirty bitmap of a large guest costs.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin dirty-walk
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use multifd_migration::DirtyBitmap;

fn main() {
    let dirty = fastest(|| DirtyBitmap::dirty(pages(512 << 30)));
    println!("512 GiB, all of it dirty: {:.2} ms", millis(dirty));
    let scattered = fastest(|| {
        let mut bitmap = DirtyBitmap::clean(pages(512 << 30));
        (0..bitmap.pages())
            .step_by(1000)
            .for_each(|page| bitmap.mark(page, 1));
        bitmap
    });
    println!("512 GiB, a page in 1000 dirty: {:.2} ms", millis(scattered));
    let clean = fastest(|| DirtyBitmap::clean(pages(12 << 40)));
    println!("12 TiB, all of it clean: {:.3} ms", millis(clean));
}

/// The least time of several walks, each over a new bitmap.
fn fastest(bitmap: impl Fn() -> DirtyBitmap) -> Duration {
    (0..10).map(|_| walk(bitmap())).min().unwrap_or_default()
}

/// Takes all runs, as a round does.
fn walk(mut bitmap: DirtyBitmap) -> Duration {
    let start = Instant::now();
    let (mut from, mut pages) = (0, 0);
    while let Some(chunk) = bitmap.take_chunk(&mut from) {
        for run in chunk.runs() {
            pages += black_box(run).pages;
        }
    }
    black_box(pages);
    start.elapsed()
}

fn pages(bytes: u64) -> u64 {
    bytes / 4096
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
