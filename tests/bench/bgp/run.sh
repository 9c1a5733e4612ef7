#!/usr/bin/env bash
# `make bench-bgp`: measures the speaker beside other daemons with the BGP harness; needs root.
# usage: BGPBENCH=FOLDER tests/bench/bgp/run.sh [CASES [DAEMONS [ROUNDS]]]
set -euo pipefail
cd "$(dirname "$0")/../../.."
CASES=${1:-t1k,t10k} DAEMONS=${2:-margay,bird,frr,gobgp} ROUNDS=${3:-3}
HARNESS=${BGPBENCH:?set it to the folder of bgpbench.py, the harness that drives any speaker by a description (tests/bench/bgp/README.md)}
BINARIES=${BINARIES:-$PWD/target/$(rustc -vV | sed -n 's/^host: //p')/release}
[ -x "$BINARIES/margay-agent" ] || { echo "$BINARIES/margay-agent is not there: make build" >&2; exit 1; }

# A copy: the harness finds descriptions beside itself only.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$HARNESS"/. "$copy"
cp tests/bench/bgp/margay.toml "$copy/duts/"
mkdir -p target/bench
out=$PWD/target/bench/bgp-$(date +%Y%m%dT%H%M%S).jsonl
PATH=$BINARIES:$PATH python3 "$copy/bgpbench.py" run --dut "$DAEMONS" --case "$CASES" --rounds "$ROUNDS" --out "$out"
python3 "$copy/bgpbench.py" compact "$out" --ref bird
echo "raw results: $out; on this machine: $(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg)"
