#!/usr/bin/env bash
# Everything that a change has to pass, on a machine with cargo and a C compiler.
#
#   scripts/test.sh           all of it; installs a QEMU for the peer tests if there is none, and
#                             fetches the vendors' libraries that are missing into .peers
#   scripts/test.sh --quick   all of it but the peer tests; installs and fetches nothing
#   scripts/test.sh --lint    formatting, lints, documentation and dependencies, no tests
#
# What a machine lacks is skipped and listed at the end. With CI=true it is a failure instead, and
# cargo-deny is installed if it is missing.
#
#   MULTIFD_QEMU            the QEMU to test against; none for no peer tests
#   MULTIFD_QEMU_OLD        one from before 9.0; none for no tests with it
#   MULTIFD_QATZIP_LIBRARY  the libqatzip to test with; none for no tests with it
#   MULTIFD_QPL_LIBRARY     the same for libqpl
#   MULTIFD_ISAL_LIBRARY    the same for ISA-L
#   MULTIFD_ACCEL           their accelerator, kvm or tcg; kvm where it is usable unless set
set -euo pipefail
cd "$(dirname "$0")/.."

skipped=()

main() {
    local tests=true library_path=
    case "${1:-}" in
        "") ;;
        --quick) export MULTIFD_QEMU=none ;;
        --lint) tests=false ;;
        -h | --help) usage; exit ;;
        *) usage; exit 2 ;;
    esac
    require_tools

    if has_component rustfmt cargo-fmt; then
        step "formatting" cargo fmt --all --check
    fi
    if has_component clippy cargo-clippy; then
        step "lints" cargo clippy --workspace --all-targets --all-features -- -D warnings
    fi
    step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps
    check_dependencies
    if "$tests"; then
        choose_peer
        choose_library qpl
        choose_library qatzip
        choose_library isal
        # What libqatzip needs lies beside it.
        case ${MULTIFD_QATZIP_LIBRARY:-} in */*) library_path=${MULTIFD_QATZIP_LIBRARY%/*} ;; esac
        step "tests" env ${library_path:+"LD_LIBRARY_PATH=$library_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"} \
            cargo test --workspace --all-features
    fi
    report
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; }

say() { printf '==> %s\n' "$*"; }

fail() {
    printf '==> FAILED: %s\n' "$*" >&2
    exit 1
}

in_ci() { [ "${CI:-}" = true ] || [ "${CI:-}" = 1 ]; }

# Runs $2.. as the step named $1 and ends the script if it fails.
step() {
    local name=$1
    shift
    say "$name: $*"
    "$@" || fail "$name"
}

# Notes that $1 was not checked, because of $2.
skip() {
    if in_ci; then fail "$1: $2"; fi
    say "$1: skipped, $2"
    skipped+=("$1: $2")
}

require_tools() {
    command -v cargo >/dev/null ||
        fail "no cargo: install Rust, $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer"
    command -v cc >/dev/null || fail "no C compiler: on Debian and Ubuntu, apt-get install gcc libc6-dev"
}

# Whether the toolchain has its part $1 with program $2, which minimal installations leave out.
has_component() {
    "$2" --version >/dev/null 2>&1 || rustup component add "$1" ||
        { skip "$2" "the toolchain has no $1"; return 1; }
}

check_dependencies() {
    if ! cargo deny --version >/dev/null 2>&1; then
        if in_ci; then
            step "cargo-deny" cargo install --locked cargo-deny
        else
            skip "dependencies" "no cargo-deny: cargo install --locked cargo-deny"
            return
        fi
    fi
    step "dependencies" cargo deny check bans licenses sources
    # The database is fetched from another place than the crates. That it cannot be reached says
    # nothing about the change, so this is not a failure under CI either.
    if cargo deny fetch db >/dev/null 2>&1; then
        step "advisories" cargo deny check advisories
    else
        say "advisories: skipped, the advisory database cannot be fetched"
        skipped+=("advisories: the advisory database cannot be fetched")
    fi
}

# Decides which QEMU the tests meet, and that they may not go without it once it is there.
choose_peer() {
    local asked=${MULTIFD_QEMU:-}
    if [ "$asked" = none ]; then
        say "peer tests: skipped, as asked for"
        skipped+=("peer tests: as asked for")
        return
    fi
    say "peer tests: scripts/install-qemu.sh"
    if MULTIFD_QEMU=$(scripts/install-qemu.sh); then
        export MULTIFD_QEMU MULTIFD_REQUIRE_PEERS=1
        say "peer tests: with $MULTIFD_QEMU"
        choose_old_peer
    elif [ -n "$asked" ]; then
        fail "peer tests: MULTIFD_QEMU=$asked cannot be used"
    else
        skip "peer tests" "no QEMU, see above"
        export MULTIFD_QEMU=none
    fi
}

choose_old_peer() {
    [ "${MULTIFD_QEMU_OLD:-}" != none ] || return 0
    say "peer tests: scripts/install-qemu-7.2.sh"
    if MULTIFD_QEMU_OLD=$(scripts/install-qemu-7.2.sh); then
        export MULTIFD_QEMU_OLD
        say "peer tests: with $MULTIFD_QEMU_OLD"
    else
        skip "tests with an old peer" "no QEMU older than 9.0, see above"
        export MULTIFD_QEMU_OLD=none
    fi
}

# Decides which lib$1 the tests load. Where there is none they are told so.
choose_library() {
    local name=lib$1 variable=MULTIFD_${1^^}_LIBRARY script=scripts/install-lib$1.sh options=() library
    [ "$(uname -m)" = x86_64 ] || return 0
    if [ "${!variable:-}" = none ]; then
        say "$name: skipped, as asked for"
        skipped+=("$name: as asked for")
        return
    fi
    # A run without peers fetches nothing.
    [ "$MULTIFD_QEMU" != none ] || options=(--find)
    say "$name: $script ${options[*]}"
    if library=$("$script" "${options[@]}"); then
        export "$variable=$library"
        say "$name: with $library"
        return
    fi
    if [ "${#options[@]}" -gt 0 ]; then
        skipped+=("$name: there is none here")
    else
        skip "$name" "there is none, see above"
    fi
    export "$variable=none"
}

report() {
    local line
    if [ "${#skipped[@]}" -gt 0 ]; then
        say "passed, without:"
        for line in "${skipped[@]}"; do say "  $line"; done
    else
        say "passed"
    fi
}

main "$@"
