//! Standard output and standard error.

use std::fmt::Arguments;
use std::io::{self, Write as _};

use serde::Serialize;

/// Writes a line of the result to stdout.
pub(crate) fn line(text: Arguments<'_>) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes an object to stdout, as the only one of the whole run.
pub(crate) fn json(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, object)?;
    writeln!(stdout)
}

/// Writes an object to stdout, on a line of its own, as one of several.
pub(crate) fn json_line(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, object)?;
    writeln!(stdout)
}

/// Writes a line for a human to stderr. If nobody listens there, nothing can be done about it.
pub(crate) fn message(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
