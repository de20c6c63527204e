// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which of many connections have something new to say, without asking each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

/// Connections that are listened to, by their places.
pub(super) struct Readiness {
    epoll: OwnedFd,
}

impl Readiness {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Listens to a connection from now on. Each time that more has come it is ready once: what has not been taken does
    /// not make it so again.
    pub(super) fn add(&self, connection: impl AsFd, place: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            connection,
            EventData::new_u64(place),
            flags,
        )?)
    }

    /// Listens to it no more.
    pub(super) fn remove(&self, connection: impl AsFd) {
        // It was there.
        let _ = epoll::delete(&self.epoll, connection);
    }

    /// Those to which something has come, some of them at a time. Does not wait.
    pub(super) fn ready(&self) -> io::Result<Vec<u64>> {
        let mut events = Vec::with_capacity(AT_A_TIME);
        let room = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.epoll, room, Some(&Timespec::default()))?;
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }
}

/// It is ready to be received from while some connection is ready.
impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

const AT_A_TIME: usize = 1024;
