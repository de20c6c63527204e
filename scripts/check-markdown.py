#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

"""Fails if a line of prose in Markdown is longer than the style allows.

    scripts/check-markdown.py              lists the lines that are too long
    scripts/check-markdown.py --self-test  checks the check

Code blocks, tables and what has no place to break, such as an address, may be longer.
"""

import re
import subprocess
import sys

LIMIT = 100
FENCE = re.compile(r"\s*(```|~~~)")
MARKER = re.compile(r"\s*(?:[-*+]|\d+[.)]|#+|>)?\s*")


def prose(lines):
    """Yields (number, line) of each line that is neither in a code block nor in a table."""
    in_code = False
    for number, line in enumerate(lines, start=1):
        if FENCE.match(line):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith("|"):
            yield number, line


def is_breakable(line):
    """Whether the line could end at an earlier place and be within the limit there."""
    start = MARKER.match(line).end()
    return " " in line[start:LIMIT]


def too_long(lines):
    """Returns (number, length) of each line of prose that should have been broken."""
    return [
        (number, len(line)) for number, line in prose(lines) if len(line) > LIMIT and is_breakable(line)
    ]


def self_test():
    words = "word " * 30
    address = "- https://example.org/" + "a" * 100
    lines = [words, "| " + words, "```", words, "```", address, "a " * 50, "# " + words]
    assert [number for number, _ in too_long(lines)] == [1, 8], too_long(lines)


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments:
        sys.exit(__doc__)
    listed = subprocess.run(["git", "ls-files", "-z", "*.md"], check=True, capture_output=True, text=True)
    found = []
    for path in filter(None, listed.stdout.split("\0")):
        with open(path, encoding="utf-8") as file:
            found += [f"{path}:{number}: {length}" for number, length in too_long(file.read().split("\n"))]
    for line in found:
        print(f"{line} columns, at most {LIMIT} are allowed")
    if found:
        sys.exit(1)
    print(f"no line of prose is longer than {LIMIT} columns")


if __name__ == "__main__":
    main(sys.argv[1:])
