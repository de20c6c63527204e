#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

"""Fails if a block of production code stands in two places.

    scripts/check-copies.py              lists the blocks
    scripts/check-copies.py --self-test  checks the check

A block is a run of lines that are the same but for white space. Comments, blank lines, `use` lines and
lines of nothing but punctuation do not count, nor do tests.
"""

import re
import sys
from collections import defaultdict

import rust_sources

SHORTEST = 12

# Blocks that may be there twice: (two paths, in order) and the reason. One that is not found is an error.
ALLOWED = {}

STATEMENT_OF_USE = re.compile(r"(pub(\([^)]*\))? )?use ")


def blocks(sources, shortest=SHORTEST):
    """Returns each block that is in two places: (lines, (path, line number), (path, line number))."""
    codes = {path: code(lines) for path, lines in sources.items()}
    places = defaultdict(list)
    for path, lines in codes.items():
        for start in range(len(lines) - shortest + 1):
            places[tuple(text for _, text in lines[start : start + shortest])].append((path, start))
    found, covered = [], set()
    for same in places.values():
        for index, one in enumerate(same):
            for other in same[index + 1 :]:
                if (one, other) in covered:
                    continue
                length = common(codes, one, other)
                covered.update(((one[0], one[1] + n), (other[0], other[1] + n)) for n in range(length))
                if length >= shortest:
                    found.append((length, *(location(codes, place) for place in (one, other))))
    return sorted(found, key=lambda block: (-block[0], block[1:]))


def code(lines):
    """Returns the lines that count, with their numbers and in one form."""
    counted, in_use = [], False
    for number, line in lines:
        text = " ".join(without_comment(line).split())
        if in_use or STATEMENT_OF_USE.match(text):
            in_use = not text.endswith(";")
        elif re.search(r"\w", text):
            counted.append((number, text))
    return counted


def without_comment(line):
    """Returns the line up to a comment. Two slashes inside of a string are none."""
    for found in re.finditer("//", line):
        if line[: found.start()].count('"') % 2 == 0:
            return line[: found.start()]
    return line


def common(codes, one, other):
    """Returns how many lines from these two places on are the same. The two may not overlap."""
    first, second = codes[one[0]][one[1] :], codes[other[0]][other[1] :]
    if one[0] == other[0]:
        first = first[: other[1] - one[1]]
    length = 0
    for (_, left), (_, right) in zip(first, second):
        if left != right:
            break
        length += 1
    return length


def location(codes, place):
    path, start = place
    return str(path), codes[path][start][0]


def judge(found, allowed):
    """Returns a line for each block that is not allowed, and for each permission that nothing needs."""
    complaints, used = [], set()
    for length, one, other in found:
        files = (one[0], other[0])
        if files in allowed:
            used.add(files)
            continue
        complaints.append(f"{one[0]}:{one[1]}: {length} lines as at {other[0]}:{other[1]}: give them one place")
    for files in sorted(set(allowed) - used):
        complaints.append(f"{files[0]}, {files[1]}: no block is in both, take the pair from ALLOWED")
    return complaints


def self_test():
    def numbered(lines):
        return list(enumerate(lines, 1))

    block = [f"    let a{n} = {n};" for n in range(SHORTEST)]
    spaced = [line.replace(" = ", "  =  ") + " // why" for line in block]
    spaced[3:3] = ["", "    }", "    // a comment", "use a::{", "    b,", "};"]
    one = numbered(["fn one() {", *block, "}"])
    other = numbered(["fn other() {", "    call();", *spaced, "}"])
    expected = [(SHORTEST, ("a.rs", 2), ("b.rs", 3))]
    assert blocks({"a.rs": one, "b.rs": other}) == expected
    assert blocks({"a.rs": one[:-2], "b.rs": other}) == [], "one line less is no block"
    assert blocks({"a.rs": one + numbered(["fn b() {"] + block)})[0][0] == SHORTEST, "twice in one file"
    assert blocks({"a.rs": numbered(["    same();"] * (2 * SHORTEST - 1))}) == [], "no block overlaps itself"
    assert without_comment('let a = "http://b"; // c') == 'let a = "http://b"; '
    assert len(judge(expected, {})) == 1 and judge(expected, {("a.rs", "b.rs"): "why"}) == []
    assert len(judge([], {("a.rs", "b.rs"): "why"})) == 1, "a permission that nothing needs"


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments:
        sys.exit(__doc__)
    complaints = judge(blocks(rust_sources.production()), ALLOWED)
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
