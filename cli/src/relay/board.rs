// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is known of a relay's migrations, for whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use multifd_migration::RelayHandle;
use serde_json::{Map, Value, json};

use super::entrance::Outside;
use crate::args::Which;
use crate::show::clock::{millis, rfc3339};
use crate::show::log::Identity;

/// Written to by the listening thread, read by any. Cheap to clone.
#[derive(Clone)]
pub(super) struct Board(Arc<Mutex<State>>);

/// What never changes.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Where the relay listens, and where it connects to.
    pub(super) listening: String,
    pub(super) target: String,
    /// Most migrations at once.
    pub(super) most: usize,
}

/// A migration under way.
#[derive(Clone)]
pub(super) struct Posted {
    pub(super) identity: Arc<Identity>,
    pub(super) handle: RelayHandle,
    /// The methods of both sides.
    pub(super) methods: [&'static str; 2],
}

/// Why there is no such migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There never was, or it was forgotten.
    Unknown(String),
    /// It has ended.
    Over(String),
    /// Several have this UUID.
    Ambiguous(String),
}

struct State {
    frame: Frame,
    start: SystemTime,
    /// When what is under way is cancelled, once the relay takes no more.
    ending: Option<Instant>,
    passages: BTreeMap<usize, Posted>,
    /// The first of those that wait, and how many there are.
    waiting: (Vec<Outside>, usize),
    completed: u64,
    failed: u64,
    /// What ended last, the latest first.
    history: VecDeque<Map<String, Value>>,
}

impl Board {
    pub(super) fn new(frame: Frame) -> Self {
        let state = State {
            frame,
            start: SystemTime::now(),
            ending: None,
            passages: BTreeMap::new(),
            waiting: (Vec::new(), 0),
            completed: 0,
            failed: 0,
            history: VecDeque::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A migration has begun.
    pub(super) fn begin(&self, posted: Posted) {
        let number = posted.identity.number;
        self.lock().passages.insert(number, posted);
    }

    /// A migration has ended, as its record says.
    pub(super) fn end(
        &self,
        identity: &Identity,
        mut record: Map<String, Value>,
        is_completed: bool,
    ) {
        let now = || rfc3339(SystemTime::now()).into();
        record.entry("end").or_insert_with(now);
        let mut state = self.lock();
        state.passages.remove(&identity.number);
        match is_completed {
            true => state.completed += 1,
            false => state.failed += 1,
        }
        state.history.push_front(record);
        state.history.truncate(MOST_HISTORY);
    }

    /// The first of the connections that have no migration yet, and how many there are.
    pub(super) fn set_waiting(&self, waiting: (Vec<Outside>, usize)) {
        self.lock().waiting = waiting;
    }

    /// The relay takes no more migrations, and cancels those under way then.
    pub(super) fn set_ending(&self, then: Option<Instant>) {
        self.lock().ending = then;
    }

    /// From now on so many migrations may be under way at once.
    pub(super) fn set_most(&self, most: usize) {
        self.lock().frame.most = most;
    }

    /// The relay in a line.
    pub(super) fn summary(&self) -> String {
        let state = self.lock();
        format!(
            "{} migrations under way; {} have arrived, {} have failed",
            state.passages.len(),
            state.completed,
            state.failed
        )
    }

    /// The migrations under way.
    pub(super) fn passages(&self) -> Vec<Posted> {
        self.lock().passages.values().cloned().collect()
    }

    /// The one that is meant.
    pub(super) fn find(&self, which: Which) -> Result<Posted, Missing> {
        let state = self.lock();
        let is_meant = |posted: &&Posted| match which {
            Which::Number(number) => posted.identity.number == number,
            Which::Uuid(uuid) => posted.identity.uuid.get() == Some(&uuid),
        };
        let found: Vec<_> = state.passages.values().filter(is_meant).collect();
        match found[..] {
            [posted] => Ok(posted.clone()),
            [] => Err(state.missing(which)),
            _ => {
                let numbers = found.iter().map(|posted| posted.identity.number);
                let numbers = list(numbers);
                let what = format!("several migrations have this UUID: {numbers}; give a number");
                Err(Missing::Ambiguous(what))
            }
        }
    }

    /// The relay itself.
    pub(super) fn relay(&self) -> Value {
        let state = self.lock();
        let mut relay = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": process::id(),
            "start": rfc3339(state.start),
            "status": if state.ending.is_some() { "ending" } else { "listening" },
            "listening": state.frame.listening,
            "target": state.frame.target,
            "max-migrations": state.frame.most,
            "under-way": state.passages.len(),
            "waiting": state.waiting.1,
            "completed": state.completed,
            "failed": state.failed,
        });
        if let (Some(end), Some(members)) = (state.ending, relay.as_object_mut()) {
            let left = end.saturating_duration_since(Instant::now());
            members.insert("grace-left".into(), millis(left).into());
        }
        relay
    }

    /// Connections that have no migration yet.
    pub(super) fn waiting(&self) -> Value {
        let state = self.lock();
        let waiting = state.waiting.0.iter().map(|outside| {
            json!({
                "peer": outside.peer.to_string(),
                "said": outside.said,
                "uuid": outside.uuid.map(|uuid| uuid.to_string()),
                "time": outside.since.map(|since| millis(since.elapsed())),
            })
        });
        waiting.collect()
    }

    /// What ended last, the latest first.
    pub(super) fn history(&self) -> Value {
        let state = self.lock();
        state.history.iter().cloned().map(Value::Object).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posted {
    /// What the migration does, in figures.
    pub(super) fn figures(&self) -> Map<String, Value> {
        let mut members = self.identity.members();
        // Numbers and texts are always JSON.
        if let Ok(Value::Object(info)) = serde_json::to_value(self.handle.info()) {
            members.extend(info);
        }
        for (side, method) in ["in", "out"].into_iter().zip(self.methods) {
            if let Some(Value::Object(side)) = members.get_mut(side) {
                side.insert("multifd-compression".into(), method.into());
            }
        }
        members
    }
}

impl State {
    fn missing(&self, which: Which) -> Missing {
        let name = match which {
            Which::Number(number) => format!("migration {number}"),
            Which::Uuid(uuid) => format!("a migration of guest {uuid}"),
        };
        let is_meant = |record: &&Map<String, Value>| match which {
            Which::Number(number) => record.get("migration") == Some(&number.into()),
            Which::Uuid(uuid) => record.get("uuid") == Some(&uuid.to_string().into()),
        };
        if let Some(record) = self.history.iter().find(is_meant) {
            let status = record.get("status").and_then(Value::as_str);
            let status = status.unwrap_or("ended");
            return Missing::Over(format!("{name} is over: {status}"));
        }
        let there = match self.passages.is_empty() {
            true => "none is under way".to_owned(),
            false => {
                let names = self.passages.values().map(|posted| &posted.identity);
                format!("under way: {}", list(names))
            }
        };
        Missing::Unknown(format!(
            "{name} is not under way, and none that ended of late; {there}"
        ))
    }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.map(|item| item.to_string()).collect();
    items.join("; ")
}

/// Most migrations that are remembered.
const MOST_HISTORY: usize = 32;
