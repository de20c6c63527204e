# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# shellcheck shell=bash
# What is slow and seldom breaks: the part that scripts/test.sh sources and runs only with --full.
#
# Missing compilers, targets and tools are installed with rustup, cargo and apt.
#
# Minutes of processor time, with everything compiled from scratch: oldest Rust 2, each target 1.5, tests on each
# processor 3.5, Miri 4.5 (on one processor), AddressSanitizer 7, fuzzers 10 for compiling and 20 s per target,
# moments 2, 10,000 connections 2. Waiting adds 3: a destination whose source was killed early waits half a minute for it.

readonly FUZZ_SECONDS=20
readonly MOMENTS=100
readonly SOAK=1000
readonly SEEDS=200
# The codecs, the formats and what drives them: what another processor or byte order could break.
readonly PORTABLE=(migration-params multifd-core multifd-deflate multifd-migration multifd-none multifd-qatzip
    multifd-qpl multifd-uadk multifd-zlib multifd-zstd)
# qemu-user says yes to every madvise and does nothing, and its smaps has no dirty pages.
readonly NOT_EMULATED=(channel::fill::tests::a_page_ a_page_behind_the_end_of_its_file what_is_dirty_becomes_clean)
# What real QEMUs have sent, all of it and payload by payload.
readonly RECORDED=(vectors recorded_payloads)

run_the_rest() {
    check_oldest_rust
    step "zstd without features" cargo test --locked --no-default-features --package multifd-zstd
    check_target aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    check_target x86_64-unknown-linux-musl musl-gcc musl-tools
    # Another processor, and another byte order.
    test_emulated aarch64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    test_emulated s390x gcc-s390x-linux-gnu libc6-dev-s390x-cross
    run_miri
    run_address_sanitizer
    run_fuzzers
    test_moments
    test_large_devices
    test_flood
    test_soak
}

# Whether the toolchain $1 is there or can be installed.
has_toolchain() {
    cargo "+$1" --version >/dev/null 2>&1 || rustup toolchain install --profile minimal --no-self-update "$1"
}

# Whether the standard library for the target $1 is there or can be installed.
has_target() {
    [ -d "$(rustc --print target-libdir --target "$1")" ] || rustup target add "$1"
}

check_oldest_rust() {
    local version
    version=$(oldest_rust).0
    if has_toolchain "$version"; then
        step "oldest Rust" cargo "+$version" check --locked --workspace --all-features
    else
        leave_out "oldest Rust" "no Rust $version" "rustup toolchain install $version"
    fi
}

# Compiles and lints everything for the target $1, with the C compiler $2 from the packages $3.. for what is in C.
check_target() {
    local target=$1
    shift
    if has_target "$target" && has_program "$@"; then
        step "$target" cargo clippy --locked --workspace --all-features --target "$target" -- -D warnings
    else
        leave_out "$target" "no compiler for it" "rustup target add $target; apt-get install ${*:2}"
    fi
}

# Runs the unit tests and the recorded migrations as on processor $1, whose C compiler and library are
# in the packages $2...
test_emulated() {
    local processor=$1 target=$1-unknown-linux-gnu prefix=$1-linux-gnu variable
    shift
    if ! has_target "$target" || ! has_program "$prefix-gcc" "$@" || ! has_program "qemu-$processor" qemu-user; then
        leave_out "tests on $processor" "no compiler or no emulator" \
            "rustup target add $target; apt-get install qemu-user $*"
        return
    fi
    variable=CARGO_TARGET_${target^^}
    variable=${variable//-/_}
    local settings=("${variable}_LINKER=$prefix-gcc" "${variable}_RUNNER=qemu-$processor -L /usr/$prefix"
        PROPTEST_CASES=32)
    step "tests on $processor" env "${settings[@]}" \
        cargo test --locked --target "$target" --lib "${PORTABLE[@]/#/--package=}" \
        -- "${NOT_EMULATED[@]/#/--skip=}"
    step "recorded migrations on $processor" env "${settings[@]}" \
        cargo test --locked --target "$target" --package multifd-tests "${RECORDED[@]/#/--test=}"
}

# Looks for undefined behaviour in what touches guest memory and reads packets.
run_miri() {
    if ! has_toolchain nightly || ! rustup component add --toolchain nightly miri rust-src; then
        leave_out "Miri" "no nightly compiler with Miri" "rustup toolchain install nightly -c miri -c rust-src"
        return
    fi
    # Miri runs a thousandth as fast, so a few random cases have to do. It has no madvise
    # and maps no files. Other crates have unsafe code only where they call C or KVM, which Miri cannot.
    step "Miri" env MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 \
        cargo +nightly miri test --locked --package multifd-core --lib -- memory:: wire:: pages:: \
        --skip channel:: --skip engine:: --skip populating_changes_nothing --skip memory::copy:: \
        --skip memory::writeback:: --skip a_file_may_shrink --skip a_page_behind_the_end_of_its_file
}

# Devices that write late, to memory that must not have been freed: the stand-ins call the sanitizer's memset. What
# such a device is left with stays for ever, which is no leak.
run_address_sanitizer() {
    if ! has_toolchain nightly; then
        leave_out "AddressSanitizer" "no nightly compiler" "rustup toolchain install nightly"
        return
    fi
    local target
    target=$(rustc -vV | sed -n 's/^host: //p')
    step "AddressSanitizer" env RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
        cargo +nightly test --locked --target "$target" --target-dir target/sanitized --package multifd-tests \
        --test accelerator --test qatzip --test uadk -- --skip library:: --skip software:: --skip format::
}

run_fuzzers() {
    if has_toolchain nightly && { cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz; }; then
        step "fuzzers" scripts/fuzz.sh "$FUZZ_SECONDS"
    else
        leave_out "fuzzers" "no nightly compiler or no cargo-fuzz" \
            "rustup toolchain install nightly; cargo install --locked cargo-fuzz"
    fi
}

# Breaks migrations at more moments than the tests have done before.
test_moments() {
    export MULTIFD_MOMENTS=$MOMENTS
    step "failures at $MOMENTS moments" \
        cargo test --locked --workspace --all-features --test live -- failure last_word
    step "kills at $MOMENTS moments" \
        cargo test --locked --workspace --all-features --test command killed
}

# Passes 2 GiB of device state on over the main channel, and 2 GiB over the others.
test_large_devices() {
    step "large devices" env MULTIFD_DEVICE_STATE=2048 \
        cargo test --locked --workspace --all-features --test command large_devices
}

# Lets 10,000 others connect who never shake hands, or hold what may be guests'.
test_flood() {
    step "10,000 connections" env MULTIFD_CROWD=10000 \
        cargo test --locked --workspace --all-features --test command -- flood crowd
}

# Lets 1000 guests come and go through two relays that are left running, and two guests begin together 200 times.
test_soak() {
    step "$SOAK guests through two relays" env MULTIFD_SOAK=$SOAK \
        cargo test --locked --workspace --all-features --test command soak
    step "guests that begin together $SEEDS times" env MULTIFD_SEEDS=$SEEDS \
        cargo test --locked --workspace --all-features --test command together
}
