// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which connections a destination accepts, and for how long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multifd_core::Error;
use multifd_migration::Destination;

use crate::net::listen::{Listener, Waker};
use crate::net::tls::ServerSide;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Gives connections to a destination until it needs no more.
///
/// That is when it has all its channels and knows the source's memory. A source announces its memory
/// after it has made all its connections, so one that is set to more channels than this side is
/// found out: its surplus connections are there by then, and the destination refuses them.
pub(crate) struct Reception<'a> {
    listener: Listener,
    tls: ServerSide,
    destination: &'a Destination,
    signs: Signs,
}

/// What the listening thread must know of the migration.
#[derive(Clone)]
pub(crate) struct Signs {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    known: AtomicBool,
    announced: AtomicBool,
    whole: AtomicBool,
    over: AtomicBool,
}

impl<'a> Reception<'a> {
    pub(crate) fn new(
        (listener, tls): (Listener, ServerSide),
        destination: &'a Destination,
        signs: Signs,
    ) -> Self {
        Self {
            listener,
            tls,
            destination,
            signs,
        }
    }

    /// Accepts until a connection of a source is known: whoever else connects starts no clock.
    pub(crate) fn first(&mut self, limit: Option<Duration>) -> anyhow::Result<()> {
        let (destination, signs) = (self.destination, self.signs.clone());
        thread::scope(|scope| {
            scope.spawn(move || {
                // What has failed already, the migration says.
                let _ = destination.wait_source(None);
                signs.set_known();
            });
            let known = self.accept_until_known(limit);
            if known.is_err() {
                destination.abort_handle().abort();
            }
            known
        })
    }

    fn accept_until_known(&mut self, limit: Option<Duration>) -> anyhow::Result<()> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            self.accept_all()?;
            if self.signs.is_over() {
                return Err(Error::aborted().into());
            }
            if self.signs.is_known() {
                return Ok(());
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                let seconds = limit.unwrap_or_default().as_secs_f64();
                let (uri, strangers) = (self.listener.place(), self.destination.strangers());
                let refused = self.listener.refused();
                let what = format!(
                    "destination: nobody connected to {uri} within {seconds} s{strangers}{refused}"
                );
                return Err(Failure::new(ExitCode::Connection, what).into());
            }
            self.listener.wait(left)?;
        }
    }

    /// Accepts the others.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        loop {
            // Asked before what is there is accepted, so that nothing that came before it is left.
            let announced = self.signs.is_announced();
            self.accept_all()?;
            if self.signs.is_over() || (announced && self.destination.is_complete()) {
                return Ok(());
            }
            self.listener.wait(None)?;
        }
    }

    fn accept_all(&mut self) -> io::Result<()> {
        while let Some(connection) = self.listener.accept()? {
            // The migration knows what is wrong. Until it is over, even one that has failed takes
            // connections: they are to last until the source has heard of it.
            let _ = self.destination.accept(self.tls.accept(connection));
        }
        Ok(())
    }
}

impl Signs {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            state: Arc::default(),
            waker,
        }
    }

    /// A connection of the source's is known.
    fn set_known(&self) {
        self.state.known.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The source has said what memory it sends.
    pub(crate) fn set_announced(&self) {
        self.state.announced.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// All of the guest is here, and nothing that ends this side takes it away again.
    pub(crate) fn set_whole(&self) {
        self.state.whole.store(true, Ordering::Release);
    }

    /// Whether all of the guest is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.whole.load(Ordering::Acquire)
    }

    /// The migration has succeeded or failed.
    pub(crate) fn set_over(&self) {
        self.state.over.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_known(&self) -> bool {
        self.state.known.load(Ordering::Acquire)
    }

    fn is_announced(&self) -> bool {
        self.state.announced.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.state.over.load(Ordering::Acquire)
    }
}
