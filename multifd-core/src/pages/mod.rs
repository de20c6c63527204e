// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The pages of one packet, as a method sees them.
//!
//! Core checks and merges the pages before a method is called. A sending method turns [`Pages`]
//! into [`Segments`]; a receiving one turns a [`Payload`] into [`PagesMut`].

mod copied;
mod payload;
mod runs;
mod segments;

pub use copied::PageCopy;
pub use payload::{Payload, PayloadError, PayloadSource};
pub use runs::{PageRuns, Pages, PagesError, PagesMut, PagesWriter};
pub use segments::Segments;
