// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that runs, made of threads: its vCPUs write to memory and mark what they wrote.
//!
//! Every page begins with the number of the last write to it, and holds a pattern that follows from
//! page and number. So a copy of the memory can be checked page by page: torn pages have two
//! patterns, and stale ones a number that is lower than the guest's own count.

mod guest;
mod order;
mod pair;
mod scripted;

pub use guest::{Guest, Rate, Step, memory};
pub use order::Order;
pub use pair::{Controls, Outcome, Pair};
pub use scripted::{ACCEPT, OFFER, accept_source, send_and_die, take_memory};
