//! Dirty pages: which ones the guest has written to since they were sent.

mod bitmap;
mod log;

pub use bitmap::{Chunk, DirtyBitmap, PageRun, Runs, WORDS_PER_CHUNK};
pub use log::{BothLogs, DirtyLog, NoWrites, SoftwareLog};
