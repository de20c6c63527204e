// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which migration a thread works for, so that whatever it logs says so.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use multifd_core::method::{Spawn, StdThreads, ThreadKind};
use multifd_core::wire::Uuid;
use serde_json::{Map, Value};

use crate::show::clock::rfc3339;
/// One of several migrations of this process.
#[derive(Debug)]
pub(crate) struct Identity {
    /// From 1 on.
    pub(crate) number: usize,
    /// The guest, once it is known.
    pub(crate) uuid: OnceLock<Uuid>,
    /// Who the source is; nothing where whoever connects first may be somebody else.
    pub(crate) peer: Option<String>,
    /// The address of the destination.
    pub(crate) target: String,
    pub(crate) start: SystemTime,
}

impl Identity {
    /// The members that a record of it has in JSON.
    pub(crate) fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("migration".into(), self.number.into());
        members.insert(
            "uuid".into(),
            self.uuid.get().map(ToString::to_string).into(),
        );
        members.insert("peer".into(), self.peer.clone().into());
        members.insert("target".into(), self.target.clone().into());
        members.insert("start".into(), rfc3339(self.start).into());
        members
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "migration {}", self.number)?;
        match self.uuid.get() {
            Some(uuid) => write!(f, ", guest {uuid}"),
            None => Ok(()),
        }
    }
}

thread_local! {
    static IDENTITY: RefCell<Option<Arc<Identity>>> = const { RefCell::new(None) };
}

/// Does something for a migration.
pub(crate) fn within<T>(identity: &Arc<Identity>, body: impl FnOnce() -> T) -> T {
    let before = IDENTITY.replace(Some(Arc::clone(identity)));
    let result = body();
    IDENTITY.replace(before);
    result
}

/// What this thread works for.
pub(super) fn with<T>(body: impl FnOnce(Option<&Identity>) -> T) -> T {
    IDENTITY.with_borrow(|identity| body(identity.as_deref()))
}

/// Threads that work for one migration.
#[derive(Clone, Debug)]
pub(crate) struct Named(pub(crate) Arc<Identity>);

impl Named {
    /// Starts a thread of the command's.
    pub(crate) fn start(
        &self,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let identity = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name(name);
        thread.spawn(move || within(&identity, body)).map(drop)
    }
}

impl Spawn for Named {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        let identity = Arc::clone(&self.0);
        StdThreads.spawn(thread, Box::new(move || within(&identity, body)))
    }
}
