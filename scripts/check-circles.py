#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

"""Finds source files that import each other in a circle.

usage: scripts/check-circles.py [--list | --self-test] [ROOT]

Looks at the `src` folder of every crate in the workspace (ROOT, or the repository that this script
is in), follows `mod` from lib.rs, main.rs and src/bin, and notes for each file which other files of
its crate it takes names from: by `use` anywhere in the file, or by a path in the code. A name counts
for the file that defines it: re-exports are looked through, so a mod.rs that only declares and
re-exports is never part of a circle. One that defines something itself is a file like any other, and
what it re-exports counts as taken. Methods and names that macros make up are not followed, and what
is only compiled for tests is left out.

Prints each circle with the names that close it, and ends with status 1 if there is one. `--list`
prints the whole graph instead, `--self-test` tries the script on a small tree of its own.
"""

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", nargs="?", default=HERE, type=Path, help="the workspace")
    parser.add_argument("--list", action="store_true", help="print which file takes what from which")
    parser.add_argument("--self-test", action="store_true", help="try the script on a made-up crate")
    options = parser.parse_args()
    if options.self_test:
        self_test()
        return 0
    graph = workspace_graph(options.root)
    if options.list:
        print_edges(graph, options.root, set(graph) | {to for edges in graph.values() for to in edges})
        return 0
    circles = find_circles(graph)
    for circle in circles:
        print(f"circle of {len(circle)} files:")
        print_edges(graph, options.root, circle)
    if not circles:
        print("no source files import each other in a circle")
    return 1 if circles else 0


def print_edges(graph, root, files):
    """What these files take from each other."""
    for file in sorted(files & graph.keys()):
        for target in sorted(graph[file].keys() & files):
            names = ", ".join(sorted(graph[file][target]))
            print(f"  {file.relative_to(root)} -> {target.relative_to(root)}: {names}")


# The graph: file -> file -> names.


def workspace_graph(root):
    graph = defaultdict(lambda: defaultdict(set))
    for manifest in sorted(root.glob("*/Cargo.toml")):
        source = manifest.parent / "src"
        for pattern in ["lib.rs", "main.rs", "bin/*.rs", "bin/*/main.rs"]:
            for file in source.glob(pattern):
                add_edges(graph, Module(file, strip(file.read_text()), None, file.parent))
    return graph


def add_edges(graph, module):
    for name, found in module.taken():
        if isinstance(found, Module):
            found = OUTSIDE if found.is_transparent() else found.file
        if found != OUTSIDE and found != module.file:
            graph[module.file][found].add(name)
    for child in module.children.values():
        add_edges(graph, child)


OUTSIDE = "outside"
"""What a name stands for that comes from another crate or from the language."""


class Module:
    """A module: its children, the names that it defines, and what it imports."""

    def __init__(self, file, text, parent, folder):
        self.file, self.parent = file, parent
        self.root = parent.root if parent else self
        self.children, self.imports = {}, []
        self.text = USE.sub(self.take_import, self.take_children(text, folder))
        self.defined = set(definitions(self.text))

    def take_children(self, text, folder):
        """Parses the modules that are declared in `text`; answers the text without them."""
        while match := MOD.search(text):
            end = match.end()
            if match["open"]:
                end = item_end(text, match.end("name"))
                self.add_child(match["name"], self.file, text[match.end() : end - 1], folder)
            elif path := PATH.search(match["attributes"]):
                self.add_file(match["name"], [self.file.parent / path[1]], folder)
            else:
                files = [folder / f"{match['name']}.rs", folder / match["name"] / "mod.rs"]
                self.add_file(match["name"], files, folder)
            text = text[: match.start()] + text[end:]
        return text

    def add_file(self, name, files, folder):
        for file in filter(Path.is_file, files):
            self.add_child(name, file, strip(file.read_text()), folder)

    def add_child(self, name, file, text, folder):
        own = file.parent if file.name == "mod.rs" and file != self.file else folder / name
        # Of two modules of one name behind different `cfg`s, the last one is looked at.
        self.children[name] = Module(file, text, self, own)

    def take_import(self, match):
        self.imports += use_paths(match[1]) if "$" not in match[1] else []
        return ""

    def is_transparent(self):
        """Whether it only declares and re-exports."""
        return not re.sub(r"#!?\s*\[[^\]]*\]|[\s;]", "", self.text)

    def taken(self):
        """The names that the module takes, each with what it stands for."""
        for path, _ in self.imports:
            name, found = self.resolve(path)
            if name != "*":
                yield name, found
            elif isinstance(found, Module):
                words = sorted(set(re.findall(r"\w+", self.text)))
                yield from ((word, found.member(word) or OUTSIDE) for word in words)
        for match in CODE_PATH.finditer(self.text):
            yield self.resolve(re.findall(r"\w+", match[0]))

    def resolve(self, path, seen=frozenset()):
        """The name in `path` that is a definition, or the last one, with what it stands for."""
        name, *rest = path
        if name in ("crate", "self", "super"):
            found = {"crate": self.root, "self": self, "super": self.parent}[name]
        else:
            found = self.member(name, seen) or OUTSIDE
        for name_in in rest:
            if not isinstance(found, Module):
                break
            name = name_in
            if name == "super":
                found = found.parent
            elif name not in ("self", "*"):
                # What a module does not define, one of its macros does.
                found = found.member(name, seen) or found.file
        return name, found

    def member(self, name, seen=frozenset()):
        """What `name` stands for in this module: another module, or the file that defines it."""
        if name in self.children:
            return self.children[name]
        if name in self.defined:
            return self.file
        if (self, name) in seen:
            return None
        seen |= {(self, name)}
        for path, alias in self.imports:
            if alias == name:
                return self.resolve(path, seen)[1]
        for path, alias in self.imports:
            source = self.resolve(path, seen)[1] if alias == "*" else None
            if isinstance(source, Module) and (found := source.member(name, seen)):
                return found
        return None


# Rust's text.

USE = re.compile(r"\b(?:pub\s+)?use\s+([^;<]+);")
MOD = re.compile(
    r"(?P<attributes>(?:#\s*\[[^\]]*\]\s*)*)(?:\bpub\s+)?\bmod\s+(?P<name>\w+)\s*(?:;|(?P<open>\{))"
)
PATH = re.compile(r'\bpath\s*=\s*"([^"]+)"')
CODE_PATH = re.compile(r"(?<![\w:>])\w+(?:\s*::\s*\w+)+")
DEFINITION = re.compile(
    r"[{}]|\b(?:struct|enum|union|trait|fn|const|static|type|macro_rules\s*!)\s+(?:mut\s+)?(\w+)"
)
NOT_CODE = re.compile(
    r"""(?P<kept>#\[path = "[^"]*"\])|//[^\n]*|/\*.*?\*/|\b[bc]?r(?P<hashes>#*)".*?"(?P=hashes)"""
    r"""|"(?:\\.|[^"\\])*"|'(?:\\[^']+|\\'|[^'\\])'""",
    re.S,
)
TEST_ONLY = re.compile(r"#\s*\[\s*cfg\s*\(\s*(?:all\s*\(\s*)?test\b[^\]]*\]")
DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def strip(text):
    """The text without comments, without what is in quotes (but a `#[path]`), and without tests."""
    text = NOT_CODE.sub(lambda match: match["kept"] or " ", text)
    text = re.sub(r"\bpub\s*\([^)]*\)", "pub", text).replace("r#", "")
    while match := TEST_ONLY.search(text):
        text = text[: match.start()] + text[item_end(text, match.end()) :]
    return text


def item_end(text, start):
    """Where the item that begins at `start` ends: behind its semicolon or its last brace."""
    depth = 0
    for at in range(start, len(text)):
        depth += DEPTH.get(text[at], 0)
        if depth < 0:
            return at
        if depth == 0 and text[at] in ";}":
            return at + 1
    return len(text)


def definitions(text):
    """The names of the items that are in no braces."""
    depth = 0
    for match in DEFINITION.finditer(text):
        depth += DEPTH.get(match[0], 0)
        if depth == 0 and match[1]:
            yield match[1]


def use_paths(tree):
    """The paths of a `use`, each with the name that it gets."""
    while group := re.search(r"((?:\w+\s*::\s*)*)\{([^{}]*)\}", tree):
        parts = [group[1] + part.strip() for part in group[2].split(",") if part.strip()]
        tree = tree[: group.start()] + ",".join(parts) + tree[group.end() :]
    for part in filter(None, tree.split(",")):
        path, _, alias = part.partition(" as ")
        path = re.findall(r"\w+|\*", path)
        path = path[:-1] if path[-1] == "self" and len(path) > 1 else path
        yield path, alias.strip() or path[-1]


# Circles.


def find_circles(graph):
    """The strongly connected parts of more than one file."""
    reach = {file: reachable(graph, file) for file in graph}
    circles = ({to for to in reach[file] if file in reach.get(to, ())} for file in sorted(graph))
    return [set(circle) for circle in dict.fromkeys(map(frozenset, circles)) if circle]


def reachable(graph, start):
    found, todo = set(), [start]
    while todo:
        new = graph.get(todo.pop(), {}).keys() - found
        found |= new
        todo += new
    return found


def self_test():
    """A clean tree has no circle, and each planted line makes one."""
    clean = {
        "lib.rs": "mod high; pub mod low; mod room; pub use room::Thing;",
        "high.rs": 'use crate::low::{self, LOW}; fn high() { low::f(LOW, r#"use x;"#) }'
        "#[cfg(test)] mod tests { use super::*; }",
        "low.rs": "// use crate::high;\npub const LOW: char = '\"'; pub fn f<'a>(path: &'a str) {}"
        "#[cfg(all(test, unix))] mod tests { use crate::high::high; }",
        "room/mod.rs": 'mod a; #[path = "odd.rs"] mod b; pub use a::Thing; pub(crate) use b::*;',
        "room/a.rs": "use super::b::Other; pub struct Thing(Other);",
        "room/odd.rs": "pub struct Other;",
    }
    planted = [
        ("low.rs", "use crate::high::high;"),
        ("low.rs", "use super::{high::{self as h}};"),
        ("low.rs", "fn g() { crate::high::high(); }"),
        ("room/odd.rs", "use super::Thing;"),
        ("room/odd.rs", "use crate::{Thing as T};"),
        ("room/odd.rs", "use crate::room::*; type T = Thing;"),
        ("room/mod.rs", "pub fn defined() -> Thing {}"),
    ]
    clean["room/a.rs"] += "use super::defined;"
    clean["room/mod.rs"] += "pub use nothing::defined;"
    assert not circles_of(clean), circles_of(clean)
    for file, line in planted:
        found = circles_of({**clean, file: clean[file].replace("pub use nothing::defined;", "") + line})
        assert len(found) == 1 and f"one/src/{file}" in found[0], (file, line, found)
    print("self-test passed")


def circles_of(tree):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in tree.items():
            file = root / "one" / "src" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (root / "one" / "Cargo.toml").touch()
        circles = find_circles(workspace_graph(root))
        return [sorted(str(file.relative_to(root)) for file in circle) for circle in circles]


if __name__ == "__main__":
    sys.exit(main())
