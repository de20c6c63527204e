// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a line of the log looks like.

use std::time::SystemTime;

use clap::ValueEnum;
use log::Record;
use log::kv::Key;
use serde_json::{Map, Value};

use super::context::Identity;
use super::journal;
use super::service::SERVICE;
use crate::show::clock::rfc3339;
use crate::show::output;

/// The form of the log that a user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines to be read
    Text,
    /// A JSON object on each line
    Json,
}

/// The form that the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    /// As text, with priorities, and without times: the journal has its own.
    Journal,
    Json,
}

impl Format {
    pub(super) fn choose(wanted: LogFormat) -> Self {
        match wanted {
            LogFormat::Json => Self::Json,
            LogFormat::Text if journal::is_stderr() => Self::Journal,
            LogFormat::Text => Self::Text,
        }
    }

    /// The lines of one record, with the last one's end.
    pub(super) fn lines(
        self,
        record: &Record<'_>,
        identity: Option<&Identity>,
        now: SystemTime,
    ) -> String {
        if self == Self::Json {
            return json(record, identity, now);
        }
        let mut start = String::new();
        if self == Self::Journal {
            start += journal::priority(record.level());
        } else if identity.is_some() {
            start += &format!("{} ", rfc3339(now));
        }
        start += "multifd: ";
        // A service's own words need no level.
        if record.target() != SERVICE {
            start += &format!("{}: ", record.level().as_str().to_ascii_lowercase());
        }
        if let Some(identity) = identity {
            start += &format!("{identity}: ");
        }
        let mut lines = line(&start, &record.args().to_string());
        if let Some(hint) = hint(record) {
            lines += &line(&format!("{start}hint: "), &hint);
        }
        lines
    }
}

/// One line, whatever is in the text.
fn line(start: &str, text: &str) -> String {
    format!("{start}{}\n", output::safe(&text.replace('\n', "\\n")))
}

fn json(record: &Record<'_>, identity: Option<&Identity>, now: SystemTime) -> String {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("time", rfc3339(now).into());
    add("level", record.level().as_str().to_ascii_lowercase().into());
    add("target", record.target().into());
    if let Some(identity) = identity {
        add("migration", identity.number.into());
        add("uuid", identity.uuid.get().map(ToString::to_string).into());
    }
    add("message", record.args().to_string().into());
    if let Some(hint) = hint(record) {
        add("hint", hint.into());
    }
    match output::json_text(&members) {
        Ok(text) => text + "\n",
        // A map of strings is always JSON.
        Err(_) => String::new(),
    }
}

/// What to do about it, which is a member of the record.
fn hint(record: &Record<'_>) -> Option<String> {
    let hint = record.key_values().get(Key::from(HINT))?;
    Some(hint.to_string())
}

/// The name of that member.
const HINT: &str = "hint";

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use log::Level;
    use multifd_core::wire::Uuid;

    use super::*;

    fn identity() -> Identity {
        Identity {
            number: 3,
            uuid: OnceLock::from(Uuid([0x11; 16])),
            peer: None,
            target: String::new(),
            start: SystemTime::UNIX_EPOCH,
        }
    }

    fn lines(
        format: Format,
        target: &str,
        identity: Option<&Identity>,
        hints: &[(&str, &str)],
    ) -> String {
        let record = Record::builder()
            .level(Level::Warn)
            .target(target)
            .key_values(&hints)
            .args(format_args!("two\nlines\x1b"))
            .build();
        format.lines(&record, identity, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_line_says_which_migration_it_is_of() {
        let (own, library) = (SERVICE, "multifd_migration::source");
        for (format, target, identity, wanted) in [
            (
                Format::Text,
                library,
                None,
                "multifd: warn: two\\nlines\\u{1b}\n",
            ),
            (Format::Text, own, None, "multifd: two\\nlines\\u{1b}\n"),
            (
                Format::Text,
                own,
                Some(&identity()),
                "1970-01-01T00:00:00Z multifd: migration 3, guest 11111111-1111-1111-1111-111111111111: \
                 two\\nlines\\u{1b}\n",
            ),
            (
                Format::Journal,
                library,
                None,
                "<4>multifd: warn: two\\nlines\\u{1b}\n",
            ),
        ] {
            assert_eq!(lines(format, target, identity, &[]), wanted);
        }
        let with_hint = lines(Format::Text, own, None, &[("hint", "do this")]);
        assert_eq!(
            with_hint,
            "multifd: two\\nlines\\u{1b}\nmultifd: hint: do this\n"
        );
    }

    #[test]
    fn json_has_the_same_in_members() {
        let line = lines(
            Format::Json,
            SERVICE,
            Some(&identity()),
            &[("hint", "do this")],
        );
        let line: Value = serde_json::from_str(&line).unwrap();
        let wanted = serde_json::json!({
            "time": "1970-01-01T00:00:00Z",
            "level": "warn",
            "target": SERVICE,
            "migration": 3,
            "uuid": "11111111-1111-1111-1111-111111111111",
            "message": "two\nlines\x1b",
            "hint": "do this",
        });
        assert_eq!(line, wanted);
    }
}
