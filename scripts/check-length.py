#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

"""Fails if a file has more lines of production code than the style allows.

    scripts/check-length.py              lists the files that are too long
    scripts/check-length.py --self-test  checks the check

All lines count, comments and blank ones too, but for tests.
"""

import sys

import rust_sources

LIMIT = 400


def too_long(sources, limit=LIMIT):
    """Returns (lines, path) of each file that has more lines than `limit`, the longest first."""
    lengths = ((len(lines), str(path)) for path, lines in sources.items())
    return sorted((entry for entry in lengths if entry[0] > limit), reverse=True)


def self_test():
    file = ["//! A file.", "", "fn one() {", "}"]
    tests = ["#[cfg(test)]", "mod tests {", "    fn two() {", "    }", "}"]
    method = ["impl A {", "    #[cfg(test)]", "    fn a() {", "    }", "    fn b() {}", "}"]
    elsewhere = ["#[cfg(test)]", "mod tests;", "#[cfg(test)]", "use tests::A;", "fn three() {}"]
    kept = [number for number, _ in rust_sources.without_tests(file + tests + method)[0]]
    assert kept == [1, 2, 3, 4, 10, 14, 15], kept
    assert rust_sources.without_tests(elsewhere) == ([(5, "fn three() {}")], ["tests"])
    lines = rust_sources.without_tests(file + tests)[0]
    assert too_long({"a.rs": lines}, limit=3) == [(4, "a.rs")]
    assert too_long({"a.rs": lines}, limit=4) == []
    assert len(rust_sources.production()) > 100
    assert not [path for path in rust_sources.production() if path.stem == "tests"]


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments:
        sys.exit(__doc__)
    found = too_long(rust_sources.production())
    for length, path in found:
        print(f"{path}: {length} lines without tests, {LIMIT} are the limit: move a part of it out")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
