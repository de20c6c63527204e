//! Connections that say what they are only under TLS, each heard by a thread.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use multifd_core::memory::IoVecMut;
use multifd_core::transport::{Interrupt, SocketTransport, Transport};

use crate::net::listen::Waker;
use crate::net::peer::Peer;
use crate::net::tls::ServerSide;

/// Threads that shake hands and hear what connections say.
pub(super) struct Hearings {
    thread: Hearer,
    met: mpsc::Receiver<Met>,
}

/// A connection that has shaken hands, or why it has not.
pub(super) struct Met {
    pub(super) peer: Peer,
    pub(super) hearing: Result<Hearing, String>,
}

/// What such a thread has.
#[derive(Clone)]
struct Hearer {
    tls: ServerSide,
    /// For all of it.
    limit: Duration,
    waker: Waker,
    count: Arc<AtomicUsize>,
    met: mpsc::Sender<Met>,
}

/// A connection that a thread receives the first bytes of.
pub(super) struct Hearing {
    pub(super) heard: Arc<Slot>,
    pub(super) interrupter: Arc<dyn Interrupt>,
}

/// What a thread has heard, once it is done.
#[derive(Default)]
pub(super) struct Slot {
    heard: Mutex<Option<io::Result<Introduced>>>,
    ended: Condvar,
}

/// A connection that has said what it is.
pub(super) struct Introduced {
    pub(super) connection: Box<dyn Transport>,
    /// Its first bytes.
    pub(super) start: [u8; 4],
}

impl Hearing {
    /// What has been heard by now.
    pub(super) fn heard(&self) -> MutexGuard<'_, Option<io::Result<Introduced>>> {
        self.heard.lock()
    }
}

impl Hearings {
    /// Threads that wake a listener, and have `limit` for each connection.
    pub(super) fn new(tls: ServerSide, limit: Duration, waker: Waker) -> Self {
        let (send, met) = mpsc::channel();
        let thread = Hearer {
            tls,
            limit,
            waker,
            count: Arc::default(),
            met: send,
        };
        Self { thread, met }
    }

    /// Shakes hands with a connection, and hears what it says.
    ///
    /// # Errors
    /// There are too many, or the system has no thread left: why the connection was closed.
    pub(super) fn begin(&self, connection: SocketTransport, peer: Peer) -> Result<(), String> {
        let count = &self.thread.count;
        if count.load(Ordering::Acquire) >= MOST {
            return Err(format!("{MOST} others had not said yet what they are"));
        }
        let hearer = self.thread.clone();
        count.fetch_add(1, Ordering::AcqRel);
        let started = thread::Builder::new()
            .name("relay-hears".into())
            .spawn(move || {
                hearer.hear(connection, peer);
                hearer.count.fetch_sub(1, Ordering::AcqRel);
                hearer.waker.wake();
            });
        if let Err(error) = started {
            count.fetch_sub(1, Ordering::AcqRel);
            return Err(format!("no thread could be started: {error}"));
        }
        Ok(())
    }

    /// The next connection that has shaken hands, in the order in which they have: a source does so with its main
    /// connection first. Does not wait.
    pub(super) fn met(&self) -> Option<Met> {
        self.met.try_recv().ok()
    }
}

impl Hearer {
    fn hear(&self, connection: SocketTransport, peer: Peer) {
        let begin = Instant::now();
        let interrupter = connection.interrupter();
        let heard = Arc::<Slot>::default();
        let shaken = self.tls.shake_hands(connection);
        let (connection, hearing) = match shaken {
            Ok(connection) => {
                let heard = Arc::clone(&heard);
                (Some(connection), Ok(Hearing { heard, interrupter }))
            }
            Err(error) => (None, Err(silent(error, self.limit).to_string())),
        };
        // Nobody listens only if this process ends.
        let _ = self.met.send(Met { peer, hearing });
        self.waker.wake();
        if let Some(connection) = connection {
            let left = self.limit.saturating_sub(begin.elapsed());
            let introduced = introduce(connection, left);
            *heard.lock() = Some(introduced.map_err(|error| silent(error, self.limit)));
            heard.ended.notify_all();
        }
    }
}

/// An error of a connection that had `limit` to say what it is.
fn silent(error: io::Error, limit: Duration) -> io::Error {
    if error.kind() != io::ErrorKind::TimedOut {
        return error;
    }
    let what = format!("it said nothing for {} s", limit.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Receives the first bytes, all of them within `limit`.
fn introduce(mut connection: Box<dyn Transport>, limit: Duration) -> io::Result<Introduced> {
    let begin = Instant::now();
    let mut start = [0; 4];
    let mut rest = &mut start[..];
    while !rest.is_empty() {
        let left = limit.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.set_time_limit(Some(left));
        let count = connection.recv(&mut [IoVecMut::from(&mut *rest)])?;
        if count == 0 {
            let what = "it ended without a word";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        rest = rest.get_mut(count..).unwrap_or_default();
    }
    connection.set_time_limit(None);
    Ok(Introduced { connection, start })
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<io::Result<Introduced>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what the thread has to say, but for no longer than `limit`: an interrupted connection ends the thread.
    pub(super) fn wait(&self, limit: Option<Duration>) -> io::Result<io::Result<Introduced>> {
        let start = Instant::now();
        let mut heard = self.lock();
        loop {
            if let Some(heard) = heard.take() {
                return Ok(heard);
            }
            let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(start.elapsed()));
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let waited = self.ended.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Most connections at once that are heard: all that a source can make, and some strangers beside them. The newest is
/// closed when there are more.
const MOST: usize = 256 + 64;
