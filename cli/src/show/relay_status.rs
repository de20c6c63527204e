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
    for waiting in list(part("waiting")) {
        let said = match string(waiting, "said") {
            "no-handshake" => "has not shaken hands",
            "nothing" => "has said nothing",
            "main" | "main-head" => "waits with its main connection",
            "channel" => "waits with a channel",
            _ => "is none of a migration",
        };
        let (peer, time) = (string(waiting, "peer"), seconds(waiting, "time"));
        let _ = write!(text, "\nwaiting: {peer} {said}");
        if let Some(uuid) = waiting.get("uuid").and_then(Value::as_str) {
            let _ = write!(text, " of guest {uuid}");
        }
        let _ = write!(text, ", for {time}");
    }
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
    if let Some(what) = migration.get("waits-for").and_then(Value::as_str) {
        let what = match what {
            "barrier" => "a barrier",
            "bandwidth" => "its bandwidth",
            "return-path" => "the devices or the destination's word",
            "source" => "the source",
            _ => "the destination",
        };
        let _ = write!(text, ", waits for {what}");
    }
    if let Some(work) = migration.get("destination").and_then(Value::as_str) {
        let _ = write!(text, ", the destination is {}", work.replace('-', " "));
    }
    let none = Value::Null;
    let ram = migration.get("ram").unwrap_or(&none);
    if let Some(total) = ram.get("total").and_then(Value::as_u64) {
        let passed = number(ram, "guest-bytes");
        let _ = write!(text, "; {} of memory", Bytes(total));
        match ram.get("remaining").and_then(Value::as_u64) {
            Some(left) => {
                let percent = (total - left.min(total)) * 100 / total.max(1);
                let _ = write!(text, ", {percent} % of the first pass");
            }
            None => {
                let _ = write!(text, ", {} passed on", Bytes(passed));
            }
        }
        if migration.get("expected-remaining-time").is_some() {
            let left = seconds(migration, "expected-remaining-time");
            let _ = write!(text, ", {left} left of it");
        }
    }
    if is_set_up {
        for (side, label) in [("in", "in"), ("out", "out")] {
            let side = migration.get(side).unwrap_or(&none);
            let mbps = side.get("mbps").and_then(Value::as_f64).unwrap_or(0.0);
            let _ = write!(text, "; {label} {mbps:.0} mbps");
        }
        let out = migration.get("out").unwrap_or(&none);
        let ratio = out.get("ratio").and_then(Value::as_f64).unwrap_or(0.0);
        let _ = write!(text, ", ratio {ratio:.2}");
    }
    match number(migration, "max-bandwidth") {
        0 => {}
        limit => {
            let _ = write!(text, "; at most {}", Rate(limit));
        }
    }
    text
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
            let mbps = channel.get("mbps").and_then(Value::as_f64).unwrap_or(0.0);
            let _ = write!(
                text,
                "\n    channel {at}: {packets} packets, {bytes}, {mbps:.0} mbps"
            );
            if let Some(what) = channel.get("waits-for").and_then(Value::as_str) {
                let _ = write!(text, ", waits for {}", what.replace('-', " "));
            }
        }
        if let Some(more) = count.checked_sub(MOST_CHANNELS).filter(|more| *more > 0) {
            let _ = write!(text, "\n    and {more} channels more");
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

/// A member of milliseconds, in whole seconds: `1h 3m 7s`.
fn seconds(value: &Value, name: &str) -> String {
    let millis = value.get(name).and_then(Value::as_f64).unwrap_or_default();
    let time = Duration::try_from_secs_f64((millis / 1e3).round()).unwrap_or_default();
    humantime::format_duration(time).to_string()
}

/// More would not fit on a small terminal.
const MOST_CHANNELS: usize = 8;
