#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Unpacks QEMU 11.1 from Debian's unstable release, for tests with a peer that is newer than the installed one.
#
#   scripts/install-qemu-11.1.sh          find it, or unpack it
#   scripts/install-qemu-11.1.sh --find   only find it
#
# Prints the path of the program on stdout, everything else on stderr. Exit status: 0 found, 1 not found.
#
# A program named by MULTIFD_QEMU_NEW is used as it is. Otherwise Debian's packages are unpacked into
# .peers/qemu-11.1, with the libraries that they need, including the C library and its dynamic linker, and
# a script that starts QEMU with these and with its firmware. Nothing is installed, and root is not needed;
# apt's keys and mirror are used, but none of its state is changed. The tests find it there. Once the
# unstable release has another QEMU, there is no way to get this one.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
# shellcheck source=scripts/debian-suite.sh
. scripts/debian-suite.sh
# shellcheck source=scripts/peer-qemu.sh
. scripts/peer-qemu.sh

readonly RELEASE=11.1
readonly SETTING=MULTIFD_QEMU_NEW
readonly FOLDER=$PWD/.peers/qemu-11.1
readonly PROGRAM=qemu-system-x86_64
readonly BINARY=$FOLDER/$PROGRAM
readonly HOW_TO_GET_ONE="name any QEMU of version $RELEASE or newer with x86_64 system emulation in $SETTING."
readonly SUITE=sid
readonly PACKAGE=qemu-system-x86

# The version of the package that the suite has.
candidate() {
    apt-cache policy "$PACKAGE" | sed -n 's/^ *Candidate: \(.*\)/\1/p'
}

unpack() {
    local tool apt=$FOLDER.apt new=$FOLDER.new version package
    [ "$(uname -m)" = x86_64 ] || refuse "the packages are for x86-64 only"
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || refuse "none here, and no $tool to fetch one with"
    done
    [ "$(. /etc/os-release && echo "${ID:-}")" = debian ] || refuse "none here, and only Debian has a package"
    rm -rf "$apt" "$new"
    mkdir -p "$new"
    configure_apt "$apt" "$SUITE"
    apt-get update -q >&2 || refuse "apt-get update failed"
    version=$(candidate)
    case "$version" in
        *:"$RELEASE".*) ;;
        *) refuse "$SUITE has ${version:-no} $PACKAGE" ;;
    esac
    say "unpacking $version and its libraries into $FOLDER"
    # As for a system on which nothing is installed: all that it needs.
    apt-get install -qq -y --download-only --no-install-recommends "$PACKAGE" >&2 ||
        refuse "the packages cannot be fetched"
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | extract "$new" || refuse "$package cannot be unpacked"
    done
    write_starter "$new"
    runs "$new/$PROGRAM" || refuse "the unpacked QEMU does not run: $("$new/$PROGRAM" --version 2>&1 | head -n 1)"
    rm -rf "$FOLDER" "$apt"
    mv "$new" "$FOLDER"
}

# Unpacks of a package's files, which are on stdin, what a program needs into folder $1.
extract() {
    tar -x -C "$1" --wildcards --exclude='./usr/share/doc' --exclude='./usr/share/man' \
        --exclude='./usr/share/locale' --exclude='./etc' --exclude='./var' --exclude='./usr/lib/systemd/system'
}

# The script through which QEMU is started, wherever the folder $1 is moved.
write_starter() {
    cat >"$1/$PROGRAM" <<'STARTER'
#!/bin/sh
# Starts this QEMU with the libraries, the modules and the firmware beside it.
here=$(dirname "$(readlink -f "$0")")
lib=usr/lib/x86_64-linux-gnu
QEMU_MODULE_DIR=$here/$lib/qemu
export QEMU_MODULE_DIR
exec "$here/$lib/ld-linux-x86-64.so.2" --library-path "$here/$lib:$here/$lib/systemd" \
    "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/seabios" -L "$here/usr/lib/ipxe/qemu" \
    -L "$here/usr/share/qemu" "$@"
STARTER
    chmod +x "$1/$PROGRAM"
}

find_or_unpack "$@"
