// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Standard output and standard error.

use std::fmt::Arguments;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::show::screen;

/// Writes a line of the result to stdout.
pub(crate) fn line(text: Arguments<'_>) -> io::Result<()> {
    let text = safe(&text.to_string());
    screen::beside(|| writeln!(io::stdout().lock(), "{text}")).map_err(unprintable)
}

/// Writes lines to the terminal behind stdout, in place of all that is there.
pub(crate) fn redraw(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "\x1b[2J\x1b[H{}", safe(text))
        .and_then(|()| stdout.flush())
        .map_err(unprintable)
}

/// Writes an object to stdout, as the only one of the whole run.
pub(crate) fn json(object: &impl Serialize) -> io::Result<()> {
    serde_json::to_string_pretty(object)
        .map_err(io::Error::from)
        .and_then(|text| screen::beside(|| writeln!(io::stdout().lock(), "{}", visible(&text))))
        .map_err(unprintable)
}

/// Writes an object to stdout, on a line of its own, as one of several.
pub(crate) fn json_line(object: &impl Serialize) -> io::Result<()> {
    json_text(object)
        .and_then(|text| screen::beside(|| writeln!(io::stdout().lock(), "{text}")))
        .map_err(unprintable)
}

/// An object in one line.
pub(crate) fn json_text(object: &impl Serialize) -> io::Result<String> {
    Ok(visible(&serde_json::to_string(object)?))
}

/// Writes a line for a human to stderr. If nobody listens there, nothing can be done about it.
pub(crate) fn message(text: Arguments<'_>) {
    let text = safe(&text.to_string());
    let _ = screen::beside(|| writeln!(io::stderr().lock(), "{text}"));
}

/// Writes lines of the log to stderr, which are [safe] already.
pub(crate) fn raw_message(lines: &str) {
    let _ = screen::beside(|| io::stderr().lock().write_all(lines.as_bytes()));
}

/// As [`message`], in one line whatever is in the text: of an error, or of what a library logs.
pub(crate) fn one_line(text: Arguments<'_>) {
    let text = text.to_string().replace('\n', "\\n");
    message(format_args!("{text}"));
}

/// What a peer, a file or an argument has put into a text may not move the cursor, change colours or ring the
/// bell: all but line breaks and what can be seen is escaped.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\'' | '"' | '\\' => safe.push(letter),
            _ => safe.extend(letter.escape_debug()),
        }
    }
    safe
}

/// The same JSON, with what [cannot be seen](safe) as its number: JSON itself asks that only of what is below a space.
/// Such a letter stands in a string, wherever it is.
fn visible(json: &str) -> String {
    let mut visible = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\x7f' || letter.escape_debug().len() == 1 {
            visible.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            visible.push_str(&format!("\\u{unit:04x}"));
        }
    }
    visible
}

/// Whether `error` is of a stdout that its reader has closed.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|error: &io::Error| {
        let inner = error.get_ref();
        error.kind() == io::ErrorKind::BrokenPipe && inner.is_some_and(|inner| inner.is::<Stdout>())
    })
}

/// An error of stdout: other connections break, too, and that is another matter.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
struct Stdout(io::Error);

fn unprintable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Stdout(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_printed() {
        for (text, shown) in [
            (
                "a table\n-----\n\"é\" \\ 'x'",
                "a table\n-----\n\"é\" \\ 'x'",
            ),
            (
                "\x1b[31mred\x07\r\u{9b}2J",
                "\\u{1b}[31mred\\u{7}\\r\\u{9b}2J",
            ),
            ("\u{202e}drow", "\\u{202e}drow"),
        ] {
            assert_eq!(safe(text), shown);
        }
    }

    #[test]
    fn json_stays_the_same_and_can_be_seen() {
        let text = "é \" \\ \x1b[31m \x7f \u{9b}2J \u{202e}drow \u{e0001}";
        let json = json_text(&[text]).unwrap();
        assert_eq!(safe(&json), json);
        let read: Vec<String> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, [text]);
    }
}
