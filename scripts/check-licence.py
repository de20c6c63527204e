#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

"""Fails if a source file does not name its licence in its first lines.

    scripts/check-licence.py              lists the files that do not
    scripts/check-licence.py --self-test  checks the check

What has no comments, such as recorded migrations, has its licence from REUSE.toml.
"""

import re
import subprocess
import sys

# REUSE-IgnoreStart: the lines that follow are not about this file.
SOURCE = re.compile(r"\.(rs|c|h|s|S|sh|py|toml|service|socket)$|^\.ci/run$")
NAMED = re.compile(r"^(//|#) SPDX-License-Identifier: Apache-2\.0 OR BSD-3-Clause$")


def names_licence(text):
    """Whether one of the first two lines is the one with the licence: a script begins with #!."""
    return any(NAMED.match(line) for line in text.split("\n")[:2])


def self_test():
    line = "SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause"
    assert names_licence(f"// {line}\n\n//! A crate.")
    assert names_licence(f"#!/bin/sh\n# {line}\n")
    assert not names_licence("//! A crate.\n")
    assert not names_licence("// SPDX-License-Identifier: MIT\n")
    assert SOURCE.search("cli/src/main.rs") and not SOURCE.search("README.md")


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments:
        sys.exit(__doc__)
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)
    found = []
    for path in filter(SOURCE.search, listed.stdout.split("\0")):
        with open(path, encoding="utf-8") as file:
            if not names_licence(file.read(400)):
                found.append(path)
    for path in found:
        print(f"{path}: does not name its licence: SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause")
    if found:
        sys.exit(1)
    print("every source file names its licence")


# REUSE-IgnoreEnd

if __name__ == "__main__":
    main(sys.argv[1:])
