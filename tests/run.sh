#!/usr/bin/env bash
# `make test`: every gate, the unit tests and the scenarios; the last line is the sum.
# usage: tests/run.sh [all|unit|lab] [SCENARIO...]
source "$(dirname "$0")/lib.sh"
TIER=${1:-all}; shift || true
case $TIER in all) STEPS=11 ;; unit) STEPS=7 ;; lab) STEPS=5 ;; *) die "usage: tests/run.sh [all|unit|lab] [SCENARIO...]" ;; esac
require_basics test

PASSED=0 FAILED=0
# A gate is one check: its output is shown when it fails.
gate() {
    local what=$1; shift
    step "$what"
    mkdir -p target
    if "$@" > target/gate.log 2>&1; then
        PASSED=$((PASSED + 1)); say "ok      $what"
    else
        FAILED=$((FAILED + 1)); tail -n 60 target/gate.log; say "FAILED  $what"
    fi
}
count() { # adds the `N passed; N failed` and `N passed, N failed` lines of a log
    local p f
    p=$(grep -oE '[0-9]+ passed' "$1" | awk '{s+=$1} END {print s+0}')
    f=$(grep -oE '[0-9]+ failed' "$1" | awk '{s+=$1} END {print s+0}')
    PASSED=$((PASSED + p)); FAILED=$((FAILED + f))
}

# The installed cargo-deny if it is this version, else one built once into target/.
cargo_deny() {
    local version=0.20.2 built=target/tools/bin/cargo-deny
    if [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $version" ]; then
        command -v cargo-deny
        return
    fi
    if ! [ -x $built ]; then
        say "building cargo-deny once, about three minutes" >&2
        cargo install cargo-deny --locked --version $version --root target/tools --target-dir target/tools/build --quiet
        rm -rf target/tools/build
    fi
    say "$built"
}

# Runs a command for so many seconds at most; a wait without end must not cost the whole run its report.
bounded() { timeout --kill-after=30 "$@"; }
timed_out() { [ "$1" = 124 ] || [ "$1" = 137 ]; }

unit_tests() {
    step "unit tests, and the kernel, BIRD and FRR in namespaces"
    local rc=0 longest=900
    cargo test --release --locked --workspace --no-run --quiet || { FAILED=$((FAILED + 1)); say "FAILED  the unit tests do not build"; return; }
    bounded $longest cargo test --release --locked --workspace --no-fail-fast 2>&1 | tee target/unit.log \
        | grep --line-buffered -vE '^(test .* ok|running|$|   Doc-tests|     Running)' || true
    rc=${PIPESTATUS[0]}
    grep -E '^test result' target/unit.log > target/unit-results.log || true
    count target/unit-results.log
    if timed_out "$rc"; then
        FAILED=$((FAILED + 1)); say "FAILED  the unit tests did not end within $longest s; see above what has been running for over 60 seconds"
    elif [ "$rc" != 0 ] && ! grep -q ' [1-9][0-9]* failed' target/unit-results.log; then
        FAILED=$((FAILED + 1)); say "FAILED  a unit test crashed"
    fi
}

scenarios() {
    step "scenarios on real clusters"
    local rc=0 longest=2700
    # In the foreground, so that Ctrl-C reaches it.
    bounded --foreground $longest "$RELEASE/scenario" run "$@" 2>&1 | tee target/scenarios.log || true
    rc=${PIPESTATUS[0]}
    grep -E '^[0-9]+ passed, [0-9]+ failed$' target/scenarios.log | tail -n 1 > target/scenario-results.log || true
    count target/scenario-results.log
    if timed_out "$rc"; then
        FAILED=$((FAILED + 1)); say "FAILED  the scenarios did not end within $longest s; the last line above says what was waited for"
    elif [ "$rc" != 0 ] && ! grep -q ' [1-9][0-9]* failed' target/scenario-results.log; then
        FAILED=$((FAILED + 1)); say "FAILED  the scenarios ended early (exit code $rc)"
    fi
}

step "Debian packages"; install_packages
if [ "$TIER" != lab ]; then
    gate "format" cargo fmt --all --check
    gate "licences and sources" "$(cargo_deny)" --all-features check licenses bans sources
    gate "purity and arrows" tests/gates/purity.sh
    gate "clippy, warnings denied" cargo clippy --release --locked --workspace --all-targets -- -D warnings
fi
step "build, optimised and static"; build_product
if [ "$TIER" != lab ]; then unit_tests; fi
if [ "$TIER" != unit ]; then
    step "the cluster's own binaries"; tests/kubernetes/build.sh
    step "the image"; images/build.sh
    scenarios "$@"
fi
printf '\nthe whole run took %d s\n%d passed, %d failed\n' $((SECONDS - STARTED)) "$PASSED" "$FAILED"
[ "$FAILED" = 0 ]
