#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Finds the ISA-L that the tests load, or fetches one.
#
#   scripts/install-libisal.sh          find it, or fetch it
#   scripts/install-libisal.sh --find   only find it
#
# Prints the path of the library on stdout, everything else on stderr. Exit status: 0 found, 1 not found.
#
# A library named by MULTIFD_ISAL_LIBRARY is used as it is, or else one that the dynamic linker finds.
# Otherwise the package of this release of Debian or Ubuntu is unpacked into .peers/libisal; nothing is
# installed, and root is not needed. It depends on nothing but the C library.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

readonly LIBRARY=libisal.so.2
readonly PACKAGE=libisal2
readonly FOLDER=$PWD/.peers/libisal

say() { printf 'libisal: %s\n' "$*" >&2; }

refuse() {
    say "$*"
    say "How to get it:"
    say "  Debian, Ubuntu: apt-get install $PACKAGE"
    say "  Fedora, RHEL: dnf install isa-l"
    say "or build ISA-L 2.30 or newer and name its $LIBRARY in MULTIFD_ISAL_LIBRARY."
    exit 1
}

# Prints where the system's loader finds it.
installed() {
    { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null |
        awk -v name="$LIBRARY" '$1 == name { print $NF; exit }' | grep .
}

unpacked() { find "$FOLDER" -name "$LIBRARY" 2>/dev/null | head -n 1 | grep .; }

find_library() {
    if [ -n "${MULTIFD_ISAL_LIBRARY:-}" ]; then
        # What was asked for by name is not replaced by something else.
        [ -e "$MULTIFD_ISAL_LIBRARY" ] || refuse "MULTIFD_ISAL_LIBRARY=$MULTIFD_ISAL_LIBRARY is not there"
        echo "$MULTIFD_ISAL_LIBRARY"
        return
    fi
    installed || unpacked
}

download() { (cd "$FOLDER.new" && apt-get -o APT::Sandbox::User=root download -q "$PACKAGE" >&2); }

# One unreachable third-party source must not end it: whether the package is there is looked at
# afterwards.
apt_update() {
    if [ "$(id -u)" = 0 ]; then
        apt-get update -q >&2 || say "apt-get update reported errors"
    elif sudo -n true 2>/dev/null; then
        sudo -n apt-get update -q >&2 || say "apt-get update reported errors"
    fi
}

fetch() {
    local tool
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || refuse "no $LIBRARY here, and no $tool to fetch it with"
    done
    rm -rf "$FOLDER.new"
    mkdir -p "$FOLDER.new"
    download || { apt_update && download; } || refuse "apt-get download $PACKAGE failed"
    dpkg-deb --extract "$FOLDER.new"/*.deb "$FOLDER.new" || refuse "the package cannot be unpacked"
    rm -rf "$FOLDER" "$FOLDER.new"/*.deb
    mv "$FOLDER.new" "$FOLDER"
}

case "${1:-}" in
    "") find_library && exit ;;
    --find) find_library || exit 1; exit ;;
    *) say "unknown option $1"; exit 1 ;;
esac
[ -z "${MULTIFD_ISAL_LIBRARY:-}" ] || exit 1
say "fetching $PACKAGE"
fetch
unpacked || refuse "the package has no $LIBRARY"
