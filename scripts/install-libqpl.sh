#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Finds the libqpl that tests load, or fetches one.
#
#   scripts/install-libqpl.sh          find it, or fetch it
#   scripts/install-libqpl.sh --find   only find it
#
# Prints the path of the library on stdout, everything else on stderr. Exit status: 0 found, 1 not found.
#
# A libqpl named by MULTIFD_QPL_LIBRARY is used, or else one that the dynamic linker finds. Otherwise the
# package of Debian's unstable release is unpacked below the repository, along with the C library that it
# needs and its dynamic linker: the tests rerun themselves with these. Nothing is installed, and root is
# not needed; apt's keys and mirror are used, but none of its state is changed.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/debian-suite.sh
. scripts/debian-suite.sh

readonly LIBRARY=libqpl.so.1
readonly SUITE=sid
# What the library and a program that loads it need. Devices are found through libaccel-config, which
# is not needed without one.
readonly PACKAGES=(libqpl1 libc6 libgcc-s1 libstdc++6)
readonly FOLDER=$PWD/.peers/libqpl

say() { printf 'libqpl: %s\n' "$*" >&2; }

refuse() {
    say "$*"
    say "How to get one: build Intel's QPL 1.5 or newer with -DQPL_LIBRARY_TYPE=SHARED, or on Debian's"
    say "unstable release apt-get install libqpl1, and name the library in MULTIFD_QPL_LIBRARY."
    exit 1
}

# Prints where the system's loader finds it.
installed() {
    ldconfig -p 2>/dev/null | awk -v name="$LIBRARY" '$1 == name { print $NF; exit }' | grep .
}

unpacked() {
    local path
    path=$(find "$FOLDER/root" -name "$LIBRARY" 2>/dev/null | head -n 1)
    [ -n "$path" ] && [ -e "$(dirname "$path")/ld-linux-x86-64.so.2" ] && echo "$path"
}

find_library() {
    if [ -n "${MULTIFD_QPL_LIBRARY:-}" ]; then
        [ -e "$MULTIFD_QPL_LIBRARY" ] || refuse "MULTIFD_QPL_LIBRARY=$MULTIFD_QPL_LIBRARY is not there"
        echo "$MULTIFD_QPL_LIBRARY"
        return
    fi
    installed || unpacked
}

fetch() {
    local id apt root package
    [ "$(uname -m)" = x86_64 ] || refuse "libqpl is for x86-64 only"
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || refuse "no libqpl here, and no $tool to fetch it with"
    done
    id=$(. /etc/os-release && echo "${ID:-}")
    [ "$id" = debian ] || refuse "no libqpl here, and only Debian has a package"

    apt=$FOLDER/apt root=$FOLDER/root.new
    rm -rf "$apt" "$root"
    mkdir -p "$root"
    configure_apt "$apt" "$SUITE"
    say "fetching ${PACKAGES[*]} of $SUITE"
    apt-get update -q >&2 || refuse "apt-get update failed"
    (cd "$apt/debs" && apt-get download -q "${PACKAGES[@]}" >&2) || refuse "apt-get download failed"
    for package in "$apt"/debs/*.deb; do
        dpkg-deb --extract "$package" "$root" || refuse "$package cannot be unpacked"
    done
    rm -rf "$FOLDER/root" "$apt"
    mv "$root" "$FOLDER/root"
}

case "${1:-}" in
    "") find_library && exit ;;
    --find) find_library || exit 1; exit ;;
    *) say "unknown option $1"; exit 1 ;;
esac
fetch
unpacked || refuse "the packages have no $LIBRARY"
