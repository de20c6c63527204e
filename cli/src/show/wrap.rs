// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Lines that fit a terminal.

/// `first` and then `text` in lines of at most `width` letters where words allow it, all but the first indented.
pub(crate) fn wrapped(first: &str, text: &str, indent: usize, width: usize) -> String {
    let mut lines = first.to_owned();
    let mut column = first.chars().count();
    for (at, word) in text.split(' ').enumerate() {
        let len = word.chars().count();
        if at > 0 && column.saturating_add(1 + len) > width {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += len;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_next_line() {
        assert_eq!(wrapped("  ", "a bc def", 4, 80), "  a bc def");
        assert_eq!(wrapped("  ", "a bc def", 4, 6), "  a bc\n    def");
        assert_eq!(wrapped("  ", "a bc def", 4, 5), "  a\n    bc\n    def");
        assert_eq!(wrapped("- ", "long-word b", 2, 4), "- long-word\n  b");
        assert_eq!(wrapped("", "a b", 0, usize::MAX), "a b");
    }
}
