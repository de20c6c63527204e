# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Finds a QEMU for tests, or has one unpacked: what the scripts for specific releases share. Sourced.
#
# The script that sources this must define RELEASE, SETTING (the variable that names another binary), BINARY
# (what it unpacks), HOW_TO_GET_ONE, and a function unpack.
# shellcheck shell=bash disable=SC2154

say() { printf 'qemu %s: %s\n' "$RELEASE" "$*" >&2; }

refuse() {
    say "$*"
    say "How to get one: $HOW_TO_GET_ONE"
    exit 1
}

runs() { "$1" --version >/dev/null 2>&1; }

find_qemu() {
    local named=${!SETTING:-}
    if [ -n "$named" ]; then
        # What was asked for by name is not replaced by something else.
        runs "$named" || refuse "$SETTING=$named does not run"
        echo "$named"
        return
    fi
    runs "$BINARY" && echo "$BINARY"
}

# The whole of such a script, with its arguments.
find_or_unpack() {
    case "${1:-}" in
        "") find_qemu && exit ;;
        --find) find_qemu || exit 1; exit ;;
        *) say "unknown option $1"; exit 1 ;;
    esac
    unpack
    find_qemu || refuse "the unpacked QEMU is not usable"
}
