// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay does, in words: of the JSON that it answers with.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::show::units::{Bytes, Rate};

/// All of it, in lines.
pub(crate) fn text(status: &Value) -> String {
    let part = |name: &str| status.get(name).unwrap_or(&Value::Null);
    let mut text = relay(part("relay"));
    for migration in list(part("migrations")) {
        let _ = write!(text, "\n{}: {}", name(migration), line(migration));
        ways(&mut text, migration);
    }
    waiting(
        &mut text,
        list(part("waiting")),
        number(part("relay"), "waiting"),
    );
    for ended in list(part("history")) {
        let _ = write!(text, "\nended {}: {}", string(ended, "end"), name(ended));
        let _ = write!(text, ": {}", string(ended, "status"));
        if let Some(why) = ended.get("error-desc").and_then(Value::as_str) {
            let _ = write!(text, ": {}", why.replace('\n', "\\n"));
        } else {
            let (total, guest) = (seconds(ended, "total-time"), ended.get("ram"));
            let guest = Bytes(guest.map_or(0, |ram| number(ram, "guest-bytes")));
            let _ = write!(text, " in {total}, {guest} of memory passed on");
        }
    }
    text
}

/// Connections that have no migration yet: the first of `count`.
fn waiting(text: &mut String, waiting: &[Value], count: u64) {
    for one in waiting {
        let said = match string(one, "said") {
            "no-handshake" => "has not shaken hands",
            "nothing" => "has said nothing",
            "main" | "main-head" => "waits with its main connection",
            "channel" => "waits with a channel",
            "all" => "waits for its turn",
            _ => "belongs to no migration",
        };
        let _ = write!(text, "\nwaiting: {} {said}", string(one, "peer"));
        if let Some(uuid) = one.get("uuid").and_then(Value::as_str) {
            let _ = write!(text, ", guest {uuid}");
        }
        if let Some(Value::Number(_)) = one.get("time") {
            let _ = write!(text, ", for {}", seconds(one, "time"));
        }
    }
    if let Some(more) = count
        .checked_sub(waiting.len() as u64)
        .filter(|more| *more > 0)
    {
        let _ = write!(text, "\nwaiting: {more} more connections");
    }
}

/// Which migration it is.
pub(crate) fn name(migration: &Value) -> String {
    let number = number(migration, "migration");
    match migration.get("uuid").and_then(Value::as_str) {
        Some(uuid) => format!("migration {number}, guest {uuid}"),
        None => format!("migration {number}"),
    }
}

/// A migration under way, in one line.
pub(crate) fn line(migration: &Value) -> String {
    let mut text = string(migration, "phase").replace('-', " ");
    let is_set_up = text != "setup";
    let none = Value::Null;
    let ram = migration.get("ram").unwrap_or(&none);
    if let Some(total) = ram.get("total").and_then(Value::as_u64) {
        let _ = write!(text, ", {}", memory(ram, total));
    }
    if migration.get("expected-remaining-time").is_some() {
        let _ = write!(
            text,
            ", {} left of it",
            seconds(migration, "expected-remaining-time")
        );
    }
    if is_set_up {
        let side = |name: &str| migration.get(name).unwrap_or(&none);
        let (mbps_in, mbps_out) = (fraction(side("in"), "mbps"), fraction(side("out"), "mbps"));
        let ratio = fraction(side("out"), "ratio");
        let _ = write!(
            text,
            ", {mbps_in:.0} mbps in, {mbps_out:.0} mbps out, ratio {ratio:.2}"
        );
    }
    match number(migration, "max-bandwidth") {
        0 => {}
        limit => {
            let _ = write!(text, ", at most {}", Rate(limit));
        }
    }
    if let Some(what) = migration.get("waits-for").and_then(Value::as_str) {
        let _ = write!(text, "; waits for {}", awaited(what));
    }
    if let Some(work) = migration.get("destination").and_then(Value::as_str) {
        let _ = write!(text, "; the destination is {}", work.replace('-', " "));
    }
    text
}

/// How much of the memory has been passed on, as far as a relay knows.
fn memory(ram: &Value, total: u64) -> String {
    match ram.get("remaining").and_then(Value::as_u64) {
        Some(left) => {
            let percent = u128::from(total.saturating_sub(left)) * 100 / u128::from(total.max(1));
            format!("{percent} % of a first pass over {}", Bytes(total))
        }
        None => {
            let passed = Bytes(number(ram, "guest-bytes"));
            format!("{passed} passed on of {} of memory", Bytes(total))
        }
    }
}

fn awaited(what: &str) -> &str {
    match what {
        "source" => "the source",
        "destination" => "the destination",
        "barrier" => "a barrier",
        "bandwidth" => "its bandwidth",
        "return-path" => "the devices or the destination's word",
        other => other,
    }
}

/// The two sides, and their channels.
fn ways(text: &mut String, migration: &Value) {
    let from = migration.get("peer").and_then(Value::as_str);
    for (side, way) in [
        ("in", format!("from {}", from.unwrap_or("the source"))),
        ("out", format!("to {}", string(migration, "target"))),
    ] {
        let Some(side) = migration.get(side) else {
            continue;
        };
        let (bytes, method) = (
            number(side, "transferred"),
            string(side, "multifd-compression"),
        );
        let channels = list(side.get("channels").unwrap_or(&Value::Null));
        let count = channels.len();
        let _ = write!(
            text,
            "\n  {way}: {} ({method}, {count} channels)",
            Bytes(bytes)
        );
        for (at, channel) in channels.iter().enumerate().take(MOST_CHANNELS) {
            let (packets, bytes) = (
                number(channel, "packets"),
                Bytes(number(channel, "wire-bytes")),
            );
            let mbps = fraction(channel, "mbps");
            let _ = write!(
                text,
                "\n    channel {at}: {packets} packets, {bytes}, {mbps:.0} mbps"
            );
            if let Some(what) = channel.get("waits-for").and_then(Value::as_str) {
                let _ = write!(text, ", waits for {}", awaited(what));
            }
        }
        if let Some(more) = count.checked_sub(MOST_CHANNELS).filter(|more| *more > 0) {
            let _ = write!(text, "\n    and {more} more channels");
        }
    }
}

fn relay(relay: &Value) -> String {
    let mut text = format!(
        "relay {} on {}, to {}, since {}: ",
        string(relay, "version"),
        string(relay, "listening"),
        string(relay, "target"),
        string(relay, "start"),
    );
    if let Some(Value::Number(_)) = relay.get("grace-left") {
        let left = seconds(relay, "grace-left");
        let _ = write!(text, "takes no more migrations, and ends within {left}; ");
    }
    let _ = write!(
        text,
        "{} of at most {} migrations under way; {} have arrived, {} have failed",
        number(relay, "under-way"),
        number(relay, "max-migrations"),
        number(relay, "completed"),
        number(relay, "failed"),
    );
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn fraction(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or_default()
}

/// A member of milliseconds, in whole seconds: `1h 3m 7s`.
fn seconds(value: &Value, name: &str) -> String {
    let millis = value.get(name).and_then(Value::as_f64).unwrap_or_default();
    let time = Duration::try_from_secs_f64((millis / 1e3).round()).unwrap_or_default();
    humantime::format_duration(time).to_string()
}

/// More would not fit on a small terminal.
const MOST_CHANNELS: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_migration_is_told_as_far_as_it_is_known() {
        let mut migration = json!({
            "migration": 3, "uuid": null, "phase": "setup", "waits-for": "source",
            "max-bandwidth": 0, "ram": {},
        });
        assert_eq!(name(&migration), "migration 3");
        assert_eq!(line(&migration), "setup; waits for the source");
        let known = json!({
            "uuid": "u", "phase": "memory", "waits-for": "bandwidth", "max-bandwidth": 1 << 20,
            "expected-remaining-time": 61_400.0,
            "ram": { "total": 8 << 20, "guest-bytes": 2 << 20, "remaining": 6 << 20 },
            "in": { "mbps": 10.4 }, "out": { "mbps": 8.0, "ratio": 1.5 },
        });
        let mut members = known.as_object().cloned().unwrap();
        migration.as_object_mut().unwrap().append(&mut members);
        assert_eq!(name(&migration), "migration 3, guest u");
        assert_eq!(
            line(&migration),
            "memory, 25 % of a first pass over 8.00 MiB, 1m 1s left of it, 10 mbps in, 8 mbps out, \
             ratio 1.50, at most 1.00 MiB/s; waits for its bandwidth"
        );
        migration["phase"] = "handing-over".into();
        migration["ram"]["remaining"].take();
        migration["waits-for"] = "return-path".into();
        migration["destination"] = "writing-to-disk".into();
        let text = line(&migration);
        assert!(
            text.starts_with("handing over, 2.00 MiB passed on of 8.00 MiB of memory"),
            "{text}"
        );
        let end =
            "waits for the devices or the destination's word; the destination is writing to disk";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn no_answer_is_too_odd_to_be_shown() {
        for status in [
            json!(null),
            json!([]),
            json!({"migrations": [1, {}], "history": [[]]}),
        ] {
            assert!(text(&status).starts_with("relay "), "{status}");
        }
    }

    #[test]
    fn of_many_channels_a_few_are_shown() {
        let channel = json!({ "packets": 2, "wire-bytes": 1024, "waits-for": "source" });
        let side = json!({ "channels": vec![channel; 10], "multifd-compression": "zstd" });
        let status = json!({ "migrations": [{ "migration": 1, "in": side, "peer": "192.0.2.1" }] });
        let text = text(&status);
        let from = "  from 192.0.2.1: 0 B (zstd, 10 channels)\n    channel 0: 2 packets, 1.00 KiB, 0 mbps, \
                    waits for the source\n";
        assert!(text.contains(from), "{text}");
        assert!(text.ends_with("    channel 7: 2 packets, 1.00 KiB, 0 mbps, waits for the source\n    and 2 more channels"), "{text}");
    }
}
