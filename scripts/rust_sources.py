# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

"""The production lines of the workspace's Rust files, for the checks beside this file.

Tests are left out: folders named `tests`, what stands behind `#[cfg(test)]`, and the files of modules
that are declared behind it. rustfmt has laid the files out, so that an item ends with the first
closing brace in its own column.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = re.compile(r"#\[cfg\((test|all\(test,.*\))\)\]$")
MODULE = re.compile(r"(?:pub(?:\([^)]*\))? )?mod (\w+);")


def production(root=ROOT):
    """Returns what is in production files: {path: [(line number, line)]}, paths relative to `root`."""
    sources, test_modules = {}, set()
    for path in files(root):
        lines, modules = without_tests((root / path).read_text(encoding="utf-8").splitlines())
        sources[path] = lines
        test_modules.update(folder_of(path) / module for module in modules)
    return {path: lines for path, lines in sources.items() if not is_in(path, test_modules)}


def files(root):
    """Returns the Rust files that git tracks, or that are new to it, outside of folders of tests."""
    options = ["--cached", "--others", "--exclude-standard"]
    found = subprocess.run(["git", "ls-files", "-z", *options, "*.rs"], cwd=root, check=True, stdout=subprocess.PIPE)
    paths = sorted({Path(name) for name in found.stdout.decode().split("\0") if name})
    return [path for path in paths if "tests" not in path.parts[:-1] and (root / path).exists()]


def without_tests(lines):
    """Returns the numbered lines that are no tests, and the names of test modules in other files."""
    kept, modules, number = [], [], 0
    while number < len(lines):
        line = lines[number]
        if not TESTS.match(line.strip()):
            kept.append((number + 1, line))
            number += 1
            continue
        number = item_end(lines, number, modules)
    return kept, modules


def item_end(lines, number, modules):
    """Returns the index behind the item that the attribute at `number` belongs to."""
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    number += 1
    while lines[number].strip().startswith(("#[", "//")):
        number += 1
    module = MODULE.match(lines[number].strip())
    if module:
        modules.append(module.group(1))
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.startswith(indent + "}") or (line.startswith(indent) and line.endswith((";", "}")) and line[len(indent)] != " "):
            break
    return number


def folder_of(path):
    """Returns the folder that holds the modules declared in `path`."""
    return path.parent if path.name in ("mod.rs", "lib.rs", "main.rs") else path.with_suffix("")


def is_in(path, modules):
    """Whether `path` is the file of one of `modules`, or below its folder."""
    return any(module in modules for module in (path.with_suffix(""), *path.parents))
