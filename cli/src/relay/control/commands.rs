// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be asked of a relay, and told it.

use std::num::NonZeroU64;

use ::log::info;
use migration_params::Bandwidth;
use serde_json::{Value, json};

use super::request::{Class, Refused, Request, done};
use crate::args::Which;
use crate::net::control_socket::Asker;
use crate::relay::board::{Board, Missing, Posted};
use crate::show::log::{self, SERVICE};
use crate::show::units::Rate;

/// Does what a line says; answers what is said to that.
pub(super) fn answer(board: &Board, asker: Asker, line: &[u8]) -> Value {
    let request = match Request::parse(line) {
        Ok(request) => request,
        Err(refused) => return refused.answer(None),
    };
    match execute(board, asker, &request) {
        Ok(value) => done(value, request.id),
        Err(refused) => refused.answer(request.id),
    }
}

fn execute(board: &Board, asker: Asker, request: &Request) -> Result<Value, Refused> {
    let takes = |names: &[&str]| request.takes(names);
    match &*request.execute {
        "query-commands" => {
            takes(&[])?;
            let commands = COMMANDS.iter().map(|name| json!({ "name": name }));
            Ok(commands.collect())
        }
        "query-relay" => takes(&[]).map(|()| board.relay()),
        "query-migrations" => {
            takes(&["migration"])?;
            let posted = match request.arguments.contains_key("migration") {
                true => vec![meant(board, request)?],
                false => board.passages(),
            };
            let figures = posted.iter().map(Posted::figures);
            Ok(figures.map(Value::Object).collect())
        }
        "query-waiting" => takes(&[]).map(|()| board.waiting()),
        "query-history" => takes(&[]).map(|()| board.history()),
        "cancel" => cancel(board, asker, request),
        "tune" => tune(board, asker, request),
        other => {
            let known = COMMANDS.join(", ");
            let what = format!("there is no command {other:?}; known are {known}");
            Err(Refused::new(Class::CommandNotFound, what))
        }
    }
}

fn cancel(board: &Board, asker: Asker, request: &Request) -> Result<Value, Refused> {
    request.takes(&["migration", "reason"])?;
    let why = match request.arguments.get("reason") {
        None => String::new(),
        Some(Value::String(reason)) if reason.chars().count() <= MOST_REASON => {
            format!(": {reason}")
        }
        Some(_) => {
            let what = format!("reason: wanted a text of at most {MOST_REASON} letters");
            return Err(Refused::bad(what));
        }
    };
    let posted = meant(board, request)?;
    if !posted.handle.cancel(&format!("by {asker}{why}")) {
        let what = format!(
            "too late to cancel {}: the destination may get all of the guest, so the source has to decide",
            posted.identity
        );
        return Err(Refused::new(Class::TooLate, what));
    }
    log::within(
        &posted.identity,
        || info!(target: SERVICE, "cancelled by {asker}{why}"),
    );
    Ok(posted.identity.members().into())
}

fn tune(board: &Board, asker: Asker, request: &Request) -> Result<Value, Refused> {
    request.takes(&["migration", "max-bandwidth"])?;
    let bandwidth = request.arguments.get("max-bandwidth");
    let bandwidth = bandwidth.ok_or_else(|| Refused::bad("max-bandwidth is missing"))?;
    let bytes = bandwidth.as_u64().ok_or_else(|| {
        let what = "max-bandwidth: wanted a whole number of bytes per second, or 0 for no limit";
        Refused::bad(what)
    })?;
    let bandwidth = Bandwidth::new(bytes)
        .map_err(|error| Refused::bad(format!("max-bandwidth: {error}")))?
        .non_zero();
    let posted = meant(board, request)?;
    posted.handle.set_max_bandwidth(bandwidth);
    log::within(&posted.identity, || match bandwidth {
        Some(limit) => {
            let limit = Rate(limit.get());
            info!(target: SERVICE, "max-bandwidth was set to {limit} by {asker}");
        }
        None => info!(target: SERVICE, "max-bandwidth was set to unlimited by {asker}"),
    });
    let mut members = posted.identity.members();
    let set = posted.handle.max_bandwidth().map_or(0, NonZeroU64::get);
    members.insert("max-bandwidth".into(), set.into());
    Ok(members.into())
}

/// The migration that the argument names.
fn meant(board: &Board, request: &Request) -> Result<Posted, Refused> {
    let which = match request.arguments.get("migration") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .map(Which::Number),
        None => None,
    };
    let which = which.ok_or_else(|| {
        Refused::bad("migration: wanted the number of a migration, or a guest's UUID")
    })?;
    board.find(which).map_err(|missing| match missing {
        Missing::Unknown(what) => Refused::new(Class::MigrationNotFound, what),
        Missing::Over(what) => Refused::new(Class::TooLate, what),
        Missing::Ambiguous(what) => Refused::bad(what),
    })
}

const COMMANDS: [&str; 7] = [
    "query-commands",
    "query-relay",
    "query-migrations",
    "query-waiting",
    "query-history",
    "cancel",
    "tune",
];
/// Most letters of a reason.
const MOST_REASON: usize = 200;
