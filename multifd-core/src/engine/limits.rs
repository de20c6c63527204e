// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long a side waits.

use std::time::Duration;

use crate::method::ACCELERATOR_LIMIT;

/// How long one side of a migration waits, and for what: every wait, time-out and socket option takes its
/// time from here, and an error names the limit that has ended a wait.
///
/// What is waited for without a limit is what may rightly take for ever: a source's first connection, unless the
/// host says otherwise, and what comes next between two sections of a guest that runs or two packets of a
/// channel. There only the end of the connection, a host that is gone ([`Self::destination`]) or an abort ends
/// the wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How long a new connection may take to say what it is; then it is closed. 30 s.
    pub init: Duration,
    /// How long the main connection, and for a relay the first channel, may be missing once another
    /// connection of the source's is known. 30 s.
    pub main: Duration,
    /// How long no channel may make progress while a barrier waits for one: no page arrives on any, and none
    /// comes to its SYNC. A source that is set to another number of channels is found so. 60 s.
    pub sync: Duration,
    /// How long the peer may be silent inside of a section, a packet or a message. 60 s.
    pub silence: Duration,
    /// How long the source may be silent while it sends the state of the devices: a QEMU waits there until its disks
    /// have written everything. One that is told to send no description of the state never says where it ends.
    /// A relay, which does not look for that end, waits behind the end of memory for as long as this or
    /// [`Self::confirm`], whichever is longer. 90 s.
    pub devices: Duration,
    /// How long the destination may take nothing of what is sent, on any connection, and how long the host of
    /// a TCP peer may acknowledge nothing. 60 s.
    pub destination: Duration,
    /// How long the destination's host may take to make the guest's memory, if there is a return path.
    /// 10 min.
    pub memory: Duration,
    /// How long to wait for the answer to the PING before the switchover. On a link that takes longer for what
    /// is in its buffers, the down time is longer than wanted. 10 s.
    pub pong: Duration,
    /// How long the destination may take to confirm once it has everything, and the source to answer that. 60 s.
    pub confirm: Duration,
    /// How long a destination that says that it works, loading devices or writing to a disk, may take until it
    /// confirms; [`Self::confirm`] is for one that is silent. In a relay it is how long its words count. 10 min.
    pub work: Duration,
    /// How long the source may take nothing of a message to it. 10 s.
    pub reply: Duration,
    /// How long a source that expects no answer may keep its channels at a relay once it has sent everything. 30 s.
    pub closing: Duration,
    /// How long a method may take to be set up on all channels that send. 60 s.
    pub set_up: Duration,
    /// How long a peer that fails may take to say why, or to hear it. 1 s.
    pub last_word: Duration,
    /// How long an accelerator may be silent that a channel waits for, and its library, before the channel gives
    /// it up. 10 s.
    pub accelerator: Duration,
    /// How long threads that run the host's code are waited for at the end: a device state's sink, a
    /// method. What does not come back is left alone. 10 s.
    pub threads: Duration,
}

impl Limits {
    /// All waits for the peer are as long as `limit`. Those that only put something off are not longer than
    /// they are by default: [`Self::pong`], [`Self::reply`], [`Self::set_up`], [`Self::last_word`],
    /// [`Self::accelerator`] and [`Self::threads`]; and a peer that says that it [works](Self::work) is not the one that
    /// `limit` is for: it has no less than by default.
    pub fn all(limit: Duration) -> Self {
        let usual = Self::default();
        Self {
            init: limit,
            main: limit,
            sync: limit,
            silence: limit,
            devices: limit,
            destination: limit,
            memory: limit,
            pong: limit.min(usual.pong),
            confirm: limit,
            work: limit.max(usual.work),
            reply: limit.min(usual.reply),
            closing: limit,
            set_up: usual.set_up,
            last_word: limit.min(usual.last_word),
            accelerator: usual.accelerator,
            threads: usual.threads,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            init: seconds(30),
            main: seconds(30),
            sync: seconds(60),
            silence: seconds(60),
            devices: seconds(90),
            destination: seconds(60),
            memory: seconds(600),
            pong: seconds(10),
            confirm: seconds(60),
            work: seconds(600),
            reply: seconds(10),
            closing: seconds(30),
            set_up: seconds(60),
            last_word: seconds(1),
            accelerator: ACCELERATOR_LIMIT,
            threads: seconds(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_may_write_for_a_minute() {
        assert!(Limits::default().devices > Duration::from_secs(60));
    }

    #[test]
    fn one_limit_for_all() {
        let long = Limits::all(Duration::from_secs(3600));
        assert_eq!(long.destination, Duration::from_secs(3600));
        assert_eq!(long.memory, long.confirm);
        let usual = Limits::default();
        assert_eq!((long.pong, long.last_word), (usual.pong, usual.last_word));
        let short = Limits::all(Duration::from_millis(2));
        assert_eq!((short.pong, short.last_word), (short.init, short.init));
        assert_eq!((short.work, long.work), (usual.work, long.confirm));
    }
}
