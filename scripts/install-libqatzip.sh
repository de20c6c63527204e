#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Finds the libqatzip that the tests load, or fetches one.
#
#   scripts/install-libqatzip.sh          find it, or fetch it
#   scripts/install-libqatzip.sh --find   only find it
#
# Prints the path of libqatzip.so.3 on stdout, everything else on stderr. Exit status: 0 found, 1 not found.
#
# A library named by MULTIFD_QATZIP_LIBRARY or installed on this machine is used. Otherwise the packages
# of Debian 13 or of this release are unpacked into .peers/libqatzip, and nothing is installed.
# A library there needs its folder in LD_LIBRARY_PATH:
#
#   export MULTIFD_QATZIP_LIBRARY=$(scripts/install-libqatzip.sh)
#   export LD_LIBRARY_PATH=$(dirname "$MULTIFD_QATZIP_LIBRARY")
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

readonly LIBRARY=libqatzip.so.3
# What has it if this release does not.
readonly SUITE=trixie
# libqatzip with libqat and its memory; the others are on most machines.
readonly PACKAGES=(libqatzip3 libqat4 libusdm0)
readonly OTHERS=("libnuma.so.1 libnuma1" "liblz4.so.1 liblz4-1")
readonly FOLDER=$PWD/.peers/libqatzip

say() { printf 'libqatzip: %s\n' "$*" >&2; }

refuse() {
    say "$*"
    say "How to get it: install libqatzip 1.1 or newer"
    say "  Debian 13, Ubuntu 24.04 and newer: apt-get install libqatzip3"
    say "  Fedora, RHEL 9 and newer: dnf install qatzip-libs"
    say "or name its file in MULTIFD_QATZIP_LIBRARY."
    exit 1
}

# Whether the system's loader has the library $1; prints its path.
installed() { { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | sed -n "s/^\t$1 (.*x86-64.*) => //p" | grep -m 1 .; }

# Whether the library in the file $1 has all that it needs.
complete() {
    local missing
    missing=$(LD_LIBRARY_PATH=$(dirname "$1") ldd "$1" 2>&1) || { say "$missing"; return 1; }
    if missing=$(grep 'not found' <<<"$missing"); then
        say "$1 does not load:"
        say "$missing"
        return 1
    fi
}

find_library() {
    local path=${MULTIFD_QATZIP_LIBRARY:-}
    if [ -n "$path" ]; then
        # What was asked for by name is not replaced by something else.
        [ -e "$path" ] || refuse "MULTIFD_QATZIP_LIBRARY=$path is not there"
        echo "$path"
        return
    fi
    for path in "$(installed "$LIBRARY")" "$FOLDER/$LIBRARY"; do
        if [ -e "$path" ] && complete "$path"; then
            echo "$path"
            return
        fi
    done
    return 1
}

# Runs apt's program $1 with a state of its own: the system's is neither asked nor changed.
apt_private() {
    local program=$1
    shift
    "$program" -o "Dir::Etc::sourcelist=$FOLDER/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o "Dir::State=$FOLDER/apt" -o "Dir::State::status=$FOLDER/apt/status" \
        -o "Dir::Cache=$FOLDER/apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# The address of the archive that release $1 comes from.
archive() {
    # apt fills the parentheses in.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release && $2 == "main" { print $3; exit }'
}

prepare_apt() {
    local codename source keyring=/usr/share/keyrings/debian-archive-keyring.gpg options=
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    source=$(archive "$codename")
    [ -n "$source" ] || refuse "apt has no source for ${codename:-this release}"
    [ ! -e "$keyring" ] || options="[signed-by=$keyring] "
    mkdir -p "$FOLDER/apt/lists/partial" "$FOLDER/apt/cache/archives/partial"
    : >"$FOLDER/apt/status"
    say "reading the packages of $codename and $SUITE from $source"
    for codename in "$codename" "$SUITE"; do
        printf 'deb %s%s %s main\n' "$options" "$source" "$codename"
    done | sort -u >"$FOLDER/apt/sources.list"
    apt_private apt-get update -q >&2 || say "apt-get update reported errors"
}

# Unpacks the newest version of package $1 that release $2 has, or any release.
unpack() {
    local package=$1 release=${2:-} options=() work=$FOLDER/apt/work
    [ -z "$release" ] || options=(-t "$release")
    rm -rf "$work"
    mkdir -p "$work"
    (cd "$work" && apt_private apt-get "${options[@]}" download "$package" >&2) ||
        refuse "apt-get download $package failed"
    dpkg-deb -x "$work"/*.deb "$work/root"
    find "$work/root" -name '*.so.*' -exec cp -a -t "$FOLDER" {} +
}

fetch() {
    local id codename package library
    [ "$(uname -m)" = x86_64 ] || refuse "QAT is in machines with x86_64 only"
    { command -v apt-get && command -v dpkg-deb; } >/dev/null ||
        refuse "no $LIBRARY here, and no apt-get to fetch it with"
    id=$(. /etc/os-release && echo "${ID:-}")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ "$id" = debian ] || refuse "no $LIBRARY here, and this is not Debian"
    prepare_apt
    for package in "${PACKAGES[@]}"; do unpack "$package"; done
    for package in "${OTHERS[@]}"; do
        read -r library package <<<"$package"
        # Of this release: a newer one may want a newer C library.
        installed "$library" >/dev/null || unpack "$package" "$codename"
    done
    rm -rf "$FOLDER/apt"
}

case "${1:-}" in
    "") find_library && exit ;;
    --find) find_library || exit 1; exit ;;
    *) say "unknown option $1"; exit 1 ;;
esac
[ -z "${MULTIFD_QATZIP_LIBRARY:-}" ] || exit 1
say "fetching $LIBRARY into $FOLDER"
fetch
find_library || refuse "the fetched library is not usable"
