#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# Feeds arbitrary bytes to every decoder, and to whole sources, destinations and relays, and fails on the first
# finding.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]   each target for that long, 60 s by default
#
# Needs a nightly compiler and cargo-fuzz. The corpora in fuzz/corpus are seeded from the recorded migrations and
# kept. An input that found something is in fuzz/artifacts; commit it to tests/found together with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."

# The largest packet of a recorded migration fits.
readonly MAX_LEN=$((640 * 1024))
# A single input takes milliseconds; one that takes so long hangs.
readonly INPUT_SECONDS=20
# The largest thing that is kept because a peer says how long it is: a packet of device state, 64 MiB.
readonly ALLOCATION_MB=80

fail() {
    printf '==> FAILED: %s\n' "$*" >&2
    exit 1
}

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "SECONDS is \"$seconds\", wanted a number"
shift || true

cargo +nightly --version >/dev/null 2>&1 || fail "no nightly compiler: rustup toolchain install nightly"
cargo fuzz --version >/dev/null 2>&1 || fail "no cargo-fuzz: cargo install --locked cargo-fuzz"
# cargo fuzz has no --locked of its own.
cargo fetch --locked --manifest-path fuzz/Cargo.toml ||
    fail "fuzz/Cargo.lock: cargo metadata --manifest-path fuzz/Cargo.toml brings it up to date"

mapfile -t targets < <(cargo run --quiet --locked --package multifd-tests --features command \
    --example seed_corpora -- fuzz/corpus)
[ "${#targets[@]}" -gt 0 ] || fail "no targets"
[ "$#" -eq 0 ] || targets=("$@")

for target in "${targets[@]}"; do
    printf '==> %s for %s s\n' "$target" "$seconds"
    cargo +nightly fuzz run "$target" -- \
        -max_total_time="$seconds" -max_len="$MAX_LEN" -timeout="$INPUT_SECONDS" -malloc_limit_mb="$ALLOCATION_MB" \
        -dict=fuzz/words.dict -print_final_stats=1 ||
        fail "$target: the input is in fuzz/artifacts/$target"
done
printf '==> no findings in %s\n' "${targets[*]}"
