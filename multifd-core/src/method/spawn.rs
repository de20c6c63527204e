// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How the engine and its methods get their threads.

use std::fmt;
use std::io;

use crate::geometry::ChannelId;

/// Starts the threads of the engine and of its methods: the host's chance to name, count, confine and pin them.
pub trait Spawn: Send + Sync {
    /// Runs `body` on a new thread. What [`ThreadKind`] displays is a name for it.
    ///
    /// # Errors
    /// The system has no thread left; the migration fails, or a method does without its device.
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Called on each thread once it is set up, before it says or hears anything: the place to install a seccomp
    /// filter or a CPU affinity. What the thread is by now may be more than was known when it was
    /// [started](Self::spawn): see [`ThreadKind::Accepted`]. From here on a thread opens no file, and starts no other.
    ///
    /// Which system calls each kind makes afterwards stands in `multifd_migration::system_calls`. A filter has to leave
    /// room for the C library, too. glibc calls `rt_sigprocmask` when a thread exits, and opens
    /// `/proc/sys/vm/overcommit_memory` the first time that a process gives memory of a thread's heap back.
    ///
    /// # Errors
    /// Any; the migration fails, or a method does without its device.
    fn ready(&self, thread: ThreadKind) -> io::Result<()> {
        let _ = thread;
        Ok(())
    }
}

/// What a thread is for. Displayed it is a name for the thread, of which Linux keeps 15 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadKind {
    /// Sends the packets of a source's channel.
    Send(ChannelId),
    /// Finds out what an accepted connection is: it shakes hands, if the transport does, and receives the first
    /// bytes. If it is a channel, the thread goes on as [`Self::Receive`] and is [ready](Spawn::ready) again, with
    /// the method set up in between; the engine starts none of that kind. Otherwise it ends.
    Accepted,
    /// Receives the packets of a channel, at a destination or a relay.
    Receive(ChannelId),
    /// Sends the packets of a relay's channel to the destination.
    Forward(ChannelId),
    /// Hears what the destination says to a source, or through a relay.
    ReturnPath,
    /// Tells the source that this destination's host still works.
    Work,
    /// Takes what the source still sends on the main connection after a failure, until it has heard of it.
    Drain,
    /// Is a method's, beside the thread of a channel: it waits for a device whose library may never return.
    Method {
        /// What the method calls it.
        name: &'static str,
        /// The channel.
        channel: ChannelId,
    },
}

impl fmt::Display for ThreadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(channel) => write!(f, "multifd-send-{channel}"),
            Self::Accepted => f.write_str("multifd-recv"),
            Self::Receive(channel) => write!(f, "multifd-recv-{channel}"),
            Self::Forward(channel) => write!(f, "multifd-fwd-{channel}"),
            Self::ReturnPath => f.write_str("multifd-return"),
            Self::Work => f.write_str("multifd-work"),
            Self::Drain => f.write_str("multifd-main"),
            Self::Method { name, channel } => write!(f, "{name}-{channel}"),
        }
    }
}

/// Threads of the standard library.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdThreads;

impl Spawn for StdThreads {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let builder = std::thread::Builder::new().name(thread.to_string());
        builder.spawn(body).map(drop)
    }
}
