// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections of those who may not connect.

use std::fmt;

use crate::net::allowed::Caller;

/// Counts those that were closed, and names them; of many, ever fewer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    count: u64,
    last: Option<Caller>,
}

impl Refused {
    /// A connection of `caller` was closed.
    pub(super) fn add(&mut self, caller: Caller) {
        self.count += 1;
        self.last = Some(caller);
        // Whoever knocks without end does not fill the log.
        let level = match self.count.is_power_of_two() {
            true => log::Level::Warn,
            false => log::Level::Debug,
        };
        let (count, rule) = (self.count, rule(caller));
        log::log!(
            level,
            "closed a connection of {caller}, whom no {rule} names ({count} refused so far)"
        );
    }
}

/// The option that would let `caller` in.
fn rule(caller: Caller) -> &'static str {
    match caller {
        Caller::Host(_) => "--allow",
        Caller::User(_) | Caller::Nobody => "--allow-uid",
    }
}

/// What is added to an error for which they may be the reason; nothing if there were none.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.last else {
            return Ok(());
        };
        let (count, rule) = (self.count, rule(last));
        match count {
            1 => write!(f, "; {last} was refused, whom no {rule} names"),
            _ => write!(
                f,
                "; {count} were refused, the last one {last}, whom no {rule} names"
            ),
        }
    }
}
