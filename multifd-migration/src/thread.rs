//! Threads of the host's.

use multifd_core::{Error, Fault, Spawn};

/// Starts a thread; `whose` names it in the error.
pub(crate) fn start(
    threads: &dyn Spawn,
    (name, whose): (&str, &str),
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    threads
        .spawn(name.into(), Box::new(body))
        .map_err(|error| Error::new(Fault::Caller, format!("cannot start {whose}: {error}")))
}
