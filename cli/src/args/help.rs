// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What stands below the options in the help of a command.

use crate::show::exit_code::ExitCode;
use crate::show::wrap::wrapped;

/// The headings that options stand under.
pub(super) const GUEST: &str = "Guest";
pub(super) const CONNECTION: &str = "Connection";
pub(super) const TLS: &str = "TLS";
pub(super) const MIGRATION: &str = "Migration";
pub(super) const COMPRESSION: &str = "Compression and processors";
pub(super) const OUTPUT: &str = "Output";

/// What a command that moves memory can end with.
pub(super) const MOVES: [ExitCode; 6] = [
    ExitCode::Ok,
    ExitCode::Local,
    ExitCode::Usage,
    ExitCode::Peer,
    ExitCode::Connection,
    ExitCode::Device,
];

/// What a command that only looks at something can end with.
pub(super) const LOOKS: [ExitCode; 3] = [ExitCode::Ok, ExitCode::Local, ExitCode::Usage];

/// Examples and exit statuses.
pub(super) fn below(examples: &str, statuses: &[&[ExitCode]]) -> String {
    let rows = statuses.concat();
    let rows = rows.iter().map(|code| (*code as u8, code.meaning()));
    format!("{examples}\n\n{}", table(rows))
}

/// A table of exit statuses.
pub(super) fn table(rows: impl IntoIterator<Item = (u8, &'static str)>) -> String {
    let mut text = "Exit status:".to_owned();
    for (status, meaning) in rows {
        let row = wrapped(&format!("  {status:>3}  "), meaning, INDENT, WIDTH);
        text.push('\n');
        text.push_str(&row);
    }
    text
}

/// Lines of this length are not broken on a narrow terminal.
const WIDTH: usize = 40;
const INDENT: usize = "  130  ".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_a_narrow_terminal() {
        let text = table(ExitCode::ALL.map(|code| (code as u8, code.meaning())));
        assert!(
            text.starts_with("Exit status:\n    0  success\n    1  "),
            "{text}"
        );
        assert!(text.contains("\n  130  ended by SIGINT"), "{text}");
        for line in text.lines().skip(1) {
            assert!(line.len() <= WIDTH, "{line}");
            let (number, meaning) = line.split_at(7);
            assert!(
                number.ends_with("  ") && !meaning.starts_with(' '),
                "{line}"
            );
        }
    }
}
