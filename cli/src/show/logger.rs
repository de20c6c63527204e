//! What the libraries log, on stderr.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::show::output;

/// Shows warnings, and with `verbose` all that is logged.
///
/// Errors are not shown without it: each is also returned, and printed once at the end.
pub(crate) fn install(verbose: bool) {
    let level = if verbose {
        LevelFilter::Debug
    } else {
        LevelFilter::Warn
    };
    if log::set_boxed_logger(Box::new(Stderr { verbose })).is_ok() {
        log::set_max_level(level);
    }
}

struct Stderr {
    verbose: bool,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.verbose || metadata.level() == Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            output::one_line(format_args!("multifd: {level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}
