#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Finds the QEMU that the peer tests talk to, or installs one.
#
#   scripts/install-qemu.sh [TARGET]          find it, or install it
#   scripts/install-qemu.sh --find [TARGET]   only find it
#
# Prints the path of the binary on stdout, everything else on stderr. Exit status: 0 found, 1 not found.
#
# TARGET is the processor: x86_64 (the default), aarch64, s390x or ppc64. A QEMU that is named by MULTIFD_QEMU,
# or MULTIFD_QEMU_AARCH64 and so on, or found on PATH is used if it is new enough. Otherwise the package
# comes from the distribution, or from its backports if the release itself has an older one. The
# backports suite is added from the mirror that apt already uses; apt gives it a low priority, so no
# other package changes its version.
set -euo pipefail
export LC_ALL=C

# SYNC packets, zero pages in multifd packets: what every current QEMU sends is there since 9.0.
readonly OLDEST_MAJOR=9
find_only=false
if [ "${1:-}" = --find ]; then
    find_only=true
    shift
fi
readonly TARGET=${1:-x86_64}
case "$TARGET" in
    x86_64) PACKAGES=(qemu-system-x86) ;;
    aarch64) PACKAGES=(qemu-system-arm) ;;
    # Of its own since Debian 13, and among others before.
    s390x) PACKAGES=(qemu-system-s390x qemu-system-misc) ;;
    ppc64) PACKAGES=(qemu-system-ppc) ;;
    *)
        echo "unknown target $TARGET" >&2
        exit 1
        ;;
esac
readonly BINARY=qemu-system-$TARGET
VARIABLE=MULTIFD_QEMU
[ "$TARGET" = x86_64 ] || VARIABLE=MULTIFD_QEMU_${TARGET^^}
readonly VARIABLE
readonly SOURCES=/etc/apt/sources.list.d/multifd-backports.list

say() { printf 'qemu: %s\n' "$*" >&2; }

refuse() {
    say "$*"
    say "How to get one: install QEMU $OLDEST_MAJOR.0 or newer with $TARGET system emulation"
    say "  Debian 13, Ubuntu 25.04 and newer: apt-get install ${PACKAGES[0]}"
    say "  Debian 12: the same with -t bookworm-backports"
    say "  Ubuntu 24.04: the same, from the Ubuntu Cloud Archive"
    say "  anything else: build it with ./configure --target-list=$TARGET-softmmu"
    say "and put $BINARY on PATH or name it in $VARIABLE."
    exit 1
}

# Prints the major version of the QEMU named by $1; fails if it does not run.
major_version() {
    "$1" --version 2>/dev/null | sed -n '1s/.*version \([0-9][0-9]*\)\..*/\1/p' | grep .
}

find_qemu() {
    local path major
    if [ -n "${!VARIABLE:-}" ]; then
        path=${!VARIABLE}
        # What was asked for by name is not replaced by something else.
        major=$(major_version "$path") || refuse "$VARIABLE=$path does not run"
        [ "$major" -ge "$OLDEST_MAJOR" ] || refuse "$VARIABLE=$path is version $major, too old"
        echo "$path"
        return
    fi
    path=$(command -v "$BINARY") || return
    major=$(major_version "$path") || return
    if [ "$major" -lt "$OLDEST_MAJOR" ]; then
        say "$path is version $major, too old"
        return 1
    fi
    echo "$path"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@" >&2; else sudo -n "$@" >&2; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# One unreachable third-party source must not end the installation: whether the package is there
# is looked at afterwards.
apt_update() { as_root apt-get update -q || say "apt-get update reported errors"; }

# Prints the major version of PACKAGE that apt would install; $@ are options for apt-cache.
candidate_major() {
    apt-cache "$@" policy "$PACKAGE" 2>/dev/null |
        sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9][0-9]*\)\..*/\2/p' | grep .
}

# Sets PACKAGE to the first of the packages that apt has in a version that is new enough.
candidate_is_new() {
    local major
    for PACKAGE in "${PACKAGES[@]}"; do
        ! major=$(candidate_major "$@") || [ "$major" -lt "$OLDEST_MAJOR" ] || return 0
    done
    return 1
}

# The address of the archive that release $1 itself comes from.
archive_of() {
    # apt fills the parentheses in.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release && $2 == "main" { print $3; exit }'
}

add_backports() {
    local codename=$1 archive keyring=/usr/share/keyrings/debian-archive-keyring.gpg options=
    [ -z "$(archive_of "$codename-backports")" ] || return 0
    archive=$(archive_of "$codename")
    [ -n "$archive" ] || refuse "apt has no source for $codename"
    [ ! -e "$keyring" ] || options="[signed-by=$keyring] "
    say "adding $codename-backports of $archive as $SOURCES"
    printf 'deb %s%s %s-backports main\n' "$options" "$archive" "$codename" |
        as_root tee "$SOURCES"
    apt_update
}

install_qemu() {
    local id codename suite
    command -v apt-get >/dev/null || refuse "no QEMU here, and no apt-get to install it with"
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null ||
        refuse "no QEMU here, and neither root nor a sudo that asks nothing to install it with"
    id=$(. /etc/os-release && echo "${ID:-}")
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

    apt_update
    if candidate_is_new; then
        apt_install "$PACKAGE" || refuse "apt-get install $PACKAGE failed"
        return
    fi
    { [ "$id" = debian ] && [ -n "$codename" ]; } || refuse "this release has no QEMU $OLDEST_MAJOR.0"
    suite=$codename-backports
    add_backports "$codename"
    candidate_is_new -o "APT::Default-Release=$suite" || refuse "$suite has no QEMU $OLDEST_MAJOR.0"
    apt_install -t "$suite" "$PACKAGE" || refuse "apt-get install -t $suite $PACKAGE failed"
}

if find_qemu; then exit; fi
if "$find_only" || [ -n "${!VARIABLE:-}" ]; then exit 1; fi
say "installing $BINARY"
install_qemu
hash -r
find_qemu || refuse "the installed QEMU is not usable"
