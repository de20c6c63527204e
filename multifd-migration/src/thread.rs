// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Threads of the host's.

use std::sync::Arc;

use multifd_core::{Error, Fault, Spawn, ThreadKind};

/// Starts a thread. Its body hears first whether the host lets it work.
pub(crate) fn start(
    threads: &Arc<dyn Spawn>,
    thread: ThreadKind,
    body: impl FnOnce(Result<(), Error>) + Send + 'static,
) -> Result<(), Error> {
    let host = Arc::clone(threads);
    let body = move || {
        body(host.ready(thread).map_err(|error| {
            let what = format!("the host refused the thread {thread}: {error}");
            Error::new(Fault::Caller, what)
        }));
    };
    threads.spawn(thread, Box::new(body)).map_err(|error| {
        let what = format!("cannot start the thread {thread}: {error}");
        Error::new(Fault::Caller, what)
    })
}
