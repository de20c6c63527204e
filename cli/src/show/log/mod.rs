// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What this command and the libraries log, on stderr.

mod context;
mod format;
mod journal;
mod service;

use std::time::SystemTime;

use env_filter::Filter;
use log::{Level, Log, Metadata, Record};

use crate::show::output;
pub(crate) use context::{Identity, Named, within};
use format::Format;
pub(crate) use format::LogFormat;
pub(crate) use service::SERVICE;

/// Shows what the filter lets through. Without `has_errors` it is none of the errors of the libraries: each is also
/// returned, and printed once at the end.
pub(crate) fn install(filter: Filter, has_errors: bool, format: LogFormat) {
    let level = filter.filter();
    let logger = Stderr {
        filter,
        has_errors,
        format: Format::choose(format),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

struct Stderr {
    filter: Filter,
    /// Whether the errors of the libraries are shown, too.
    has_errors: bool,
    format: Format,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_returned = metadata.level() == Level::Error && metadata.target() != SERVICE;
        self.filter.enabled(metadata) && (self.has_errors || !is_returned)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text =
                context::with(|identity| self.format.lines(record, identity, SystemTime::now()));
            output::raw_message(&text);
        }
    }

    fn flush(&self) {}
}
