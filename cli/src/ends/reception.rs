//! Which connections a destination accepts, and for how long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use migration::Destination;
use multifd_core::Error;
use multifd_core::transport::SocketTransport;

use crate::net::listen::{Listener, Ready, Waker};
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Gives connections to a destination until it needs no more.
///
/// That is when it has all its channels and knows the source's memory. A source announces its memory
/// after it has made all its connections, so one that is set to more channels than this side is
/// found out: its surplus connections are there by then, and the destination refuses them.
pub(crate) struct Reception<'a> {
    listener: Listener,
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
    announced: AtomicBool,
    whole: AtomicBool,
    over: AtomicBool,
}

impl<'a> Reception<'a> {
    pub(crate) fn new(listener: Listener, destination: &'a Destination, signs: Signs) -> Self {
        Self {
            listener,
            destination,
            signs,
        }
    }

    /// Waits for the first connection.
    pub(crate) fn first(&mut self, limit: Option<Duration>) -> anyhow::Result<SocketTransport> {
        loop {
            let ready = self.listener.wait(limit)?;
            if self.signs.is_over() {
                return Err(Error::aborted().into());
            }
            if ready == Ready::TimedOut {
                let seconds = limit.unwrap_or_default().as_secs_f64();
                let uri = self.listener.uri();
                let what = format!("destination: nobody connected to {uri} within {seconds} s");
                return Err(Failure::new(ExitCode::Connection, what).into());
            }
            if let Some(connection) = self.listener.accept()? {
                return Ok(connection);
            }
        }
    }

    /// Accepts the others.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        loop {
            // Asked before what is there is accepted, so that nothing that came before it is left.
            let announced = self.signs.is_announced();
            while let Some(connection) = self.listener.accept()? {
                // The migration knows what is wrong. Until it is over, even one that has failed takes
                // connections: they are to last until the source has heard of it.
                let _ = self.destination.accept(Box::new(connection));
            }
            if self.signs.is_over() || (announced && self.destination.is_complete()) {
                return Ok(());
            }
            self.listener.wait(None)?;
        }
    }
}

impl Signs {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            state: Arc::default(),
            waker,
        }
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

    fn is_announced(&self) -> bool {
        self.state.announced.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.state.over.load(Ordering::Acquire)
    }
}
