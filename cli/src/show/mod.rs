// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a human or a program gets to see: lines, tables, JSON, progress, failures, exit statuses, units.
//!
//! The ground floor: imports no other room.

pub(crate) mod clock;
pub(crate) mod codec_paths;
pub(crate) mod early;
pub(crate) mod exit_code;
pub(crate) mod failure;
pub(crate) mod hint;
pub(crate) mod live_view;
pub(crate) mod log;
pub(crate) mod measurement;
pub(crate) mod output;
pub(crate) mod page;

pub(crate) mod progress;
pub(crate) mod reason;
pub(crate) mod relay_status;
pub(crate) mod report;
pub(crate) mod rungs;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod tell;
pub(crate) mod timeline;
pub(crate) mod units;
pub(crate) mod whereabouts;
pub(crate) mod wrap;
