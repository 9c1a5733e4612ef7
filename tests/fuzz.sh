#!/usr/bin/env bash
# `make fuzz`: coverage-guided fuzzing of what reads octets from BGP peers. SECONDS_EACH per target (600), TARGET names one.
# The stable compiler suffices: coverage comes from LLVM's own flags, and without a sanitizer nothing of nightly is needed (the crate has no
# unsafe code for one to watch).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-600}
targets=${TARGET:-framer open update speaker}
host=$(rustc -vV | sed -n 's/^host: //p')
built=$PWD/target/fuzz
export CARGO_TARGET_DIR=$built
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cargo build --release --locked --manifest-path bgp/fuzz/Cargo.toml --target "$host"
failed=0
for target in $targets; do
    mkdir -p "$built/corpus/$target" "$built/artifacts"
    log=$built/$target.log
    echo "== $target for $seconds s"
    # 4 KiB is one whole message; a single input that takes 10 s or 1 GiB is a finding too.
    if "$built/$host/release/$target" "$built/corpus/$target" -max_total_time="$seconds" -max_len=4200 -timeout=10 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="$built/artifacts/$target-" > "$log" 2>&1; then
        awk '/^stat::number_of_executed_units/ {runs=$2} /^#.*cov:/ {for (i=1;i<=NF;i++) if ($i=="cov:") cov=$(i+1)} END {printf "   %s inputs, %s edges, nothing found\n", runs, cov}' "$log"
    else
        failed=1
        tail -n 40 "$log"
        echo "   FOUND: the input is in $built/artifacts; put it into FOUND of bgp/tests/fuzz.rs"
    fi
done
exit $failed
