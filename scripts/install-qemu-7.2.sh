#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Unpacks QEMU 7.2 from Debian 12 beside the installed one, for tests with an old peer.
#
#   scripts/install-qemu-7.2.sh          find it, or unpack it
#   scripts/install-qemu-7.2.sh --find   only find it
#
# Prints the path of the binary on stdout, everything else on stderr. Exit status: 0 found, 1 not found.
#
# A binary named by MULTIFD_QEMU_OLD is used as it is. Otherwise Debian's packages are fetched with apt and
# unpacked into .peers/qemu-7.2; nothing is installed, and root is not needed. The tests find it there. It
# uses its own firmware, so that it also runs where another QEMU's is installed.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

# shellcheck source=scripts/peer-qemu.sh
. scripts/peer-qemu.sh

readonly RELEASE=7.2
readonly SETTING=MULTIFD_QEMU_OLD
readonly FOLDER=$PWD/.peers/qemu-7.2
readonly BINARY=$FOLDER/usr/bin/qemu-system-x86_64
readonly HOW_TO_GET_ONE="on Debian 12, with its main archive among apt's sources, run this script again, or name any QEMU older than 9.0 with x86_64 system emulation in $SETTING."
# common has the module that runs guests without KVM; its build has to be that of x86.
readonly PACKAGES=(qemu-system-x86 qemu-system-common qemu-system-data)

# The newest version of package $1 that apt knows and that is a 7.2.
version_of() {
    apt-cache madison "$1" 2>/dev/null | awk -F'|' -v want=":$RELEASE+" \
        '{ gsub(/ /, "", $2) } index($2, want) { print $2 }' | sort -Vu | tail -n 1
}

# The version of package $1 whose source is that of $2: the same, but for a rebuild of the binaries.
version_like() {
    local source=${2%+b*}
    apt-cache madison "$1" 2>/dev/null | awk -F'|' -v exact="$2" -v source="$source" \
        '{ gsub(/ /, "", $2) } $2 == exact || $2 == source { print $2 }' | sort -Vu | tail -n 1
}

apt_update() {
    if [ "$(id -u)" = 0 ]; then
        apt-get update -q >&2
    elif sudo -n true 2>/dev/null; then
        sudo -n apt-get update -q >&2
    fi || say "apt-get update reported errors"
}

unpack() {
    local new=$FOLDER.new version package
    { command -v apt-get && command -v dpkg-deb; } >/dev/null || refuse "no apt-get or no dpkg-deb here"
    version=$(version_of qemu-system-x86)
    if [ -z "$version" ]; then
        apt_update
        version=$(version_of qemu-system-x86)
    fi
    [ -n "$version" ] || refuse "apt knows no qemu-system-x86 $RELEASE"
    rm -rf "$new"
    mkdir -p "$new"
    say "unpacking $version into $FOLDER"
    (
        cd "$new"
        for package in "${PACKAGES[@]}"; do
            apt-get download -q "$package=$(version_like "$package" "$version")" >&2
        done
        # Any version of the firmware will do.
        apt-get download -q seabios >&2
        for package in *.deb; do dpkg-deb -x "$package" .; done
        rm -f -- *.deb
    ) || refuse "the packages cannot be fetched"
    runs "$new/usr/bin/qemu-system-x86_64" || refuse "$(ldd "$new/usr/bin/qemu-system-x86_64" 2>&1 | grep 'not found' |
        tr -s '\n\t' '; ') missing: libraries of a qemu-system-x86 package are needed"
    rm -rf "$FOLDER"
    mv "$new" "$FOLDER"
}

find_or_unpack "$@"
