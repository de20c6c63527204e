//! How the engine and its methods get their threads.

use std::io;

use crate::geometry::ChannelId;

/// Starts the threads of the engine and of its methods: the host's chance to name, count, confine and pin them.
pub trait Spawn: Send + Sync {
    /// Runs `body` on a new thread. The name has at most 15 bytes, what Linux keeps of it.
    ///
    /// A method whose device's library may never return starts a second thread for each channel so, from the
    /// channel's thread while it is set up. [`Self::channel_ready`] is not called on it.
    ///
    /// # Errors
    /// The system has no thread left; the migration fails.
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Called on a channel's thread once its method is set up, before its first packet: the place
    /// to install a seccomp filter or a CPU affinity. From here on the thread opens nothing, sleeps
    /// never, and spawns nothing.
    ///
    /// A filter has to leave room for the C library, too. glibc calls `rt_sigprocmask` when a thread
    /// exits, and opens `/proc/sys/vm/overcommit_memory` the first time that a process gives memory of
    /// a thread's heap back: see `tests/tests/seccomp.rs` for both.
    ///
    /// # Errors
    /// Any; the migration fails.
    fn channel_ready(&self, channel: ChannelId) -> io::Result<()> {
        let _ = channel;
        Ok(())
    }
}

/// Threads of the standard library.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdThreads;

impl Spawn for StdThreads {
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name).spawn(body).map(drop)
    }
}
