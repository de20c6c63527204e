#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Finds a program that the test command needs, or installs it.
#
#   scripts/install-packages.sh PROGRAM PACKAGE...         find it, or install it
#   scripts/install-packages.sh --find PROGRAM PACKAGE...  only find it
#
# The packages are Debian's and Ubuntu's. Reports on stderr what it does. Exit status: 0 found, 1 not found.
set -euo pipefail
export LC_ALL=C

find_only=false
if [ "${1:-}" = --find ]; then
    find_only=true
    shift
fi
readonly PROGRAM=${1:?no program} PACKAGES=("${@:2}")

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }

refuse() {
    say "$*"
    say "How to get it: on Debian and Ubuntu, apt-get install ${PACKAGES[*]}"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@" >&2; else sudo -n "$@" >&2; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${PACKAGES[@]}"
}

if command -v "$PROGRAM" >/dev/null; then exit; fi
if "$find_only"; then refuse "there is none here"; fi
command -v apt-get >/dev/null || refuse "there is none here, and no apt-get to install it with"
[ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null ||
    refuse "there is none here, and neither root nor a sudo that asks nothing to install it with"
say "installing ${PACKAGES[*]}"
# One unreachable third-party source must not end it: whether the program is there is looked at afterwards.
as_root apt-get update -q || say "apt-get update reported errors"
apt_install || refuse "apt-get install ${PACKAGES[*]} failed"
command -v "$PROGRAM" >/dev/null || refuse "the packages have no $PROGRAM"
