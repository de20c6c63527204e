#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Everything that a change has to pass, on a machine with cargo, a C compiler and Python 3.
#
#   scripts/test.sh           all of it, in a quarter of an hour. Installs what is missing: a QEMU for
#                             the peer tests, shellcheck and cargo-deny; fetches missing vendor
#                             libraries into .peers
#   scripts/test.sh --full    that, and what is slow and seldom breaks (scripts/full.sh), within an hour
#   scripts/test.sh --quick   all of it but the peer tests; installs and fetches nothing
#   scripts/test.sh --lint    everything but the tests
#
# What was left out is listed at the end. The run fails if that includes anything not in MAY_BE_LEFT_OUT below.
#
#   MULTIFD_QEMU            the QEMU to test against
#   MULTIFD_QEMU_OLD        one from before 9.0
#   MULTIFD_QEMU_NEW        one from 10.1 on
#   MULTIFD_QEMU_AARCH64    one for another processor; MULTIFD_QEMU_S390X and MULTIFD_QEMU_PPC64 likewise
#   MULTIFD_QATZIP_LIBRARY  the libqatzip to test with
#   MULTIFD_QPL_LIBRARY     the same for libqpl
#   MULTIFD_ISAL_LIBRARY    the same for ISA-L
#   MULTIFD_ACCEL           the QEMUs' accelerator, kvm or tcg; by default kvm if it is usable
#
# Set one to none instead of a path to leave out the tests that need it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

# What may be left out | where | why.
readonly MAY_BE_LEFT_OUT=(
    "advisories|anywhere|it is not where the crates are, and says nothing about a change"
    "scripts|with_quick|--quick installs nothing"
    "dependencies|with_quick|--quick installs nothing"
    "peer tests|with_quick|--quick is for machines without a QEMU"
    "tests with a new peer|anywhere|Debian's unstable release moves on, and no other has one"
    "libqpl|with_quick|--quick fetches nothing"
    "libqatzip|with_quick|--quick fetches nothing"
    "libisal|with_quick|--quick fetches nothing"
    "libqpl|elsewhere_than_x86|the accelerator is in processors with x86-64 only"
    "libqatzip|elsewhere_than_x86|the accelerator is in machines with x86-64 only"
    "libisal|elsewhere_than_x86|the tests load it on x86-64 only"
    "oldest Rust|without_rustup|a distribution has one compiler"
    "Miri|without_rustup|a distribution has one compiler"
    "fuzzers|without_rustup|a distribution has one compiler"
    "aarch64-unknown-linux-gnu|without_rustup|a distribution has libraries for its own machine"
    "x86_64-unknown-linux-musl|without_rustup|a distribution has libraries for its own machine"
    "tests on aarch64|without_rustup|a distribution has libraries for its own machine"
    "tests on s390x|without_rustup|a distribution has libraries for its own machine"
    "aarch64-unknown-linux-gnu|elsewhere_than_x86|Debian has its compiler for x86-64"
    "x86_64-unknown-linux-musl|elsewhere_than_x86|Debian has its compiler for x86-64"
    "tests on aarch64|elsewhere_than_x86|Debian has its compiler for x86-64"
    "tests on s390x|elsewhere_than_x86|Debian has its compiler for x86-64"
)

# What others embed, and may want without features. multifd-kvm is linted without its default one. multifd-zstd keeps
# its own here: without it the library in C is compiled anew, which scripts/full.sh does.
readonly EMBEDDED=(migration-params multifd-core multifd-deflate multifd-migration multifd-none multifd-qatzip
    multifd-qpl multifd-tls multifd-uadk multifd-zlib multifd-zstd qatzip-sys vendor-library)

mode=all
left_out=()
refused=false

main() {
    case "${1:-}" in
        "") ;;
        --full) mode=full ;;
        --quick) mode=quick MULTIFD_QEMU=none ;;
        --lint) mode=lint ;;
        -h | --help) usage; exit ;;
        *) usage; exit 2 ;;
    esac
    require_tools

    if has_component rustfmt cargo-fmt; then
        step "formatting" cargo fmt --all --check
    fi
    check_scripts
    check_sources
    if has_component clippy cargo-clippy; then
        step "lints" cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
        step "lints of the memory without KVM" cargo clippy --locked --package multifd-kvm \
            --no-default-features --features vm-memory --all-targets -- -D warnings
    fi
    step "without features" cargo check --locked --no-default-features \
            --features multifd-zstd/experimental "${EMBEDDED[@]/#/--package=}"
    step "documentation" env RUSTDOCFLAGS="-D warnings" \
        cargo doc --locked --workspace --all-features --no-deps
    check_dependencies
    [ "$mode" = lint ] || run_tests
    if [ "$mode" = full ]; then
        # shellcheck source=scripts/full.sh
        . scripts/full.sh
        run_the_rest
    fi
    report
}

usage() { sed -n '4,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; }

say() { printf '==> %s\n' "$*"; }

fail() {
    printf '==> FAILED: %s\n' "$*" >&2
    exit 1
}

# Runs $2.. as the step named $1 and ends the script if it fails.
step() {
    local name=$1
    shift
    say "$name: $*"
    "$@" || fail "$name"
}

anywhere() { true; }
with_quick() { [ "$mode" = quick ]; }
elsewhere_than_x86() { [ "$(uname -m)" != x86_64 ]; }
without_rustup() { ! command -v rustup >/dev/null; }

# Notes that $1 is left out because of $2, and how to get it: $3.
leave_out() {
    local name=$1 reason=$2 how=$3 entry item where why
    for entry in "${MAY_BE_LEFT_OUT[@]}"; do
        IFS='|' read -r item where why <<<"$entry"
        if [ "$item" = "$name" ] && "$where"; then
            say "$name: left out, $reason"
            left_out+=("$name: $reason ($why)")
            return
        fi
    done
    say "$name: left out, $reason. That is a failure: $how"
    left_out+=("$name: $reason. It may not be left out: $how")
    refused=true
}

require_tools() {
    command -v cargo >/dev/null || fail "no cargo: install Rust, $(oldest_rust) or newer"
    command -v cc >/dev/null || fail "no C compiler: on Debian and Ubuntu, apt-get install gcc libc6-dev"
    python3 --version >/dev/null 2>&1 || fail "no python3: on Debian and Ubuntu, apt-get install python3"
}

oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# Whether the toolchain has its part $1 with program $2, which minimal installations leave out.
has_component() {
    "$2" --version >/dev/null 2>&1 || rustup component add "$1" ||
        { leave_out "$2" "the toolchain has no $1" "rustup component add $1"; return 1; }
}

# Whether the program $1 is there, or can be installed with the packages $2.., which --quick does not do.
has_program() {
    local options=()
    ! with_quick || options=(--find)
    scripts/install-packages.sh "${options[@]}" "$@"
}

check_scripts() {
    if has_program shellcheck shellcheck; then
        step "scripts" shellcheck -x scripts/*.sh .ci/run
    else
        leave_out "scripts" "no shellcheck" "on Debian and Ubuntu, apt-get install shellcheck"
    fi
}

check_sources() {
    local check
    for check in circles copies length licence markdown; do
        "scripts/check-$check.py" --self-test >/dev/null || fail "scripts/check-$check.py does not check"
        step "$check" "scripts/check-$check.py"
    done
}

check_dependencies() {
    if ! cargo deny --version >/dev/null 2>&1; then
        # Compiled without optimization: it runs for two seconds, and takes minutes to optimize.
        if with_quick || ! CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug cargo-deny; then
            leave_out "dependencies" "no cargo-deny" "cargo install --locked cargo-deny"
            return
        fi
    fi
    step "dependencies" cargo deny --locked check bans licenses sources
    if cargo deny --locked fetch db >/dev/null 2>&1; then
        step "advisories" cargo deny --locked check advisories
    else
        leave_out "advisories" "their database cannot be fetched" "see cargo deny fetch db"
    fi
}

run_tests() {
    local library_path=
    choose_peer
    choose_library qpl
    choose_library qatzip
    choose_library isal
    # What libqatzip needs lies beside it.
    case ${MULTIFD_QATZIP_LIBRARY:-} in */*) library_path=${MULTIFD_QATZIP_LIBRARY%/*} ;; esac
    [ -z "$library_path" ] ||
        export LD_LIBRARY_PATH=$library_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    # Many tests wait for somebody most of the time.
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 3 / 2))}
    step "tests" cargo test --locked --workspace --all-features
}

# Decides which QEMU the tests meet, and that they may not go without it once it is there.
choose_peer() {
    local target asked=${MULTIFD_QEMU:-}
    export MULTIFD_QEMU=none
    if [ "$asked" = none ]; then
        leave_out "peer tests" "as asked for" "unset MULTIFD_QEMU"
        return
    fi
    say "peer tests: scripts/install-qemu.sh"
    if MULTIFD_QEMU=$(MULTIFD_QEMU=$asked scripts/install-qemu.sh); then
        export MULTIFD_REQUIRE_PEERS=1
        say "peer tests: with $MULTIFD_QEMU"
        choose_old_peer
        choose_new_peer
        for target in aarch64 s390x ppc64; do
            choose_more_peers "$target" "tests with $target guests" "no QEMU for them" scripts/install-qemu.sh "$target"
        done
    elif [ -n "$asked" ]; then
        fail "peer tests: MULTIFD_QEMU=$asked cannot be used"
    else
        MULTIFD_QEMU=none
        leave_out "peer tests" "no QEMU" "scripts/install-qemu.sh says how"
    fi
}

choose_old_peer() { choose_more_peers old "tests with an old peer" "no QEMU older than 9.0" scripts/install-qemu-7.2.sh; }
choose_new_peer() { choose_more_peers new "tests with a new peer" "no QEMU 11.1" scripts/install-qemu-11.1.sh; }

# Decides which QEMU of kind $1 the tests talk to besides, which are called $2. Without one they are told so: then
# the command $4.. has found $3.
choose_more_peers() {
    local variable=MULTIFD_QEMU_${1^^} name=$2 missing=$3 find=("${@:4}") binary
    if [ "${!variable:-}" = none ]; then
        leave_out "$name" "as asked for" "unset $variable"
        return
    fi
    say "$name: ${find[*]}"
    if binary=$("${find[@]}"); then
        say "$name: with $binary"
    elif [ -n "${!variable:-}" ]; then
        fail "$name: $variable=${!variable} cannot be used"
    else
        binary=none
        leave_out "$name" "$missing" "${find[*]} says how"
    fi
    export "$variable=$binary"
}

# Decides which lib$1 the tests load. Where there is none they are told so.
choose_library() {
    local name=lib$1 variable=MULTIFD_${1^^}_LIBRARY script=scripts/install-lib$1.sh options=() library
    if elsewhere_than_x86; then
        leave_out "$name" "this machine is a $(uname -m)" "take another one"
        return
    fi
    if [ "${!variable:-}" = none ]; then
        leave_out "$name" "as asked for" "unset $variable"
        return
    fi
    ! with_quick || options=(--find)
    say "$name: $script ${options[*]}"
    if library=$("$script" "${options[@]}"); then
        say "$name: with $library"
    else
        library=none
        leave_out "$name" "there is none here" "$script says how"
    fi
    export "$variable=$library"
}

report() {
    local line
    if [ "${#left_out[@]}" -eq 0 ]; then
        say "passed, nothing was left out"
        return
    fi
    say "left out:"
    for line in "${left_out[@]}"; do say "  $line"; done
    ! "$refused" || fail "something was left out that may not be"
    say "passed without these"
}

main "$@"
