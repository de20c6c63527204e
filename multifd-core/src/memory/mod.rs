// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest memory: the only place where guest bytes are loaded and stored.
//!
//! vCPUs and devices write to guest memory while we read it, and a hostile peer may have two
//! channels write to one page. So guest memory is never a Rust slice: it is a [`Span`], a checked
//! range of a [`RamBlock`], that can be copied out of, copied into, cleared, tested for zero, or
//! given to the kernel as an [`IoVec`]. What is read may be torn between an old and a new value;
//! migration lives with that, since a page that changes is dirty and is sent again.

#![allow(
    unsafe_code,
    reason = "raw guest memory: this module exists so that no other has to touch it"
)]

mod bitmap;
mod block;
mod copy;
mod fault;
mod iovec;
mod mapping;
mod span;
mod table;
mod untouched;
mod writeback;
mod zero;

pub use bitmap::PageBitmap;
pub use block::{BlockIndex, GuestMemory, MemoryError, RamBlock, RamRegion};
pub use copy::CopyWindow;
pub use fault::{Access, PageFault};
pub use iovec::{IoVec, IoVecList, IoVecMut, IoVecs};
pub use mapping::Mapping;
pub use span::Span;
pub use untouched::Untouched;
pub use writeback::start_writeback;

#[cfg(test)]
pub(crate) use copy::memfd;

pub(crate) use table::BlockTable;
