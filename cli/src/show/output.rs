//! Standard output and standard error.

use std::fmt::Arguments;
use std::io::{self, Write as _};

use serde::Serialize;

/// Writes a line of the result to stdout.
pub(crate) fn line(text: Arguments<'_>) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}").map_err(unprintable)
}

/// Writes an object to stdout, as the only one of the whole run.
pub(crate) fn json(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, object)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(stdout))
        .map_err(unprintable)
}

/// Writes an object to stdout, on a line of its own, as one of several.
pub(crate) fn json_line(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, object)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(stdout))
        .map_err(unprintable)
}

/// Writes a line for a human to stderr. If nobody listens there, nothing can be done about it.
pub(crate) fn message(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether `error` is of a stdout that its reader has closed.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|error: &io::Error| {
        let inner = error.get_ref();
        error.kind() == io::ErrorKind::BrokenPipe && inner.is_some_and(|inner| inner.is::<Stdout>())
    })
}

/// An error of stdout: other connections break, too, and that is another matter.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
struct Stdout(io::Error);

fn unprintable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Stdout(error))
}
