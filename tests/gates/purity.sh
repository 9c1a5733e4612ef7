#!/usr/bin/env bash
# The purity gate: bgp, ipam and policy decide and never do. Clippy's disallowed-methods (per crate) sees clocks, files and sockets of the
# standard library; this sees what a dependency would bring.
set -euo pipefail
cd "$(dirname "$0")/../.."
failed=0
for crate in margay-bgp margay-ipam margay-policy; do
    tree=$(cargo tree --locked --edges normal --prefix none --package "$crate")
    for banned in tokio kube-client kube-runtime rtnetlink netlink-sys nix mio hyper; do
        if grep -q "^$banned v" <<<"$tree"; then
            echo "purity: $crate depends on $banned (cargo tree -p $crate -i $banned shows how)" >&2
            failed=1
        fi
    done
done
# Siblings never import each other; bgp depends on nothing of ours; nothing depends on tests.
arrow() { # crate, allowed...
    local crate=$1; shift
    local found
    found=$(cargo tree --locked --edges normal --prefix none --package "$crate" | grep -oE '^margay[a-z-]* v|^margayctl v' | sed 's/ v$//' | sort -u | grep -vx "$crate" || true)
    for dependency in $found; do
        [[ " $* " == *" $dependency "* ]] || { echo "arrows: $crate may not depend on $dependency" >&2; failed=1; }
    done
}
arrow margay-proto
arrow margay-bgp
arrow margay-ipam margay-proto
arrow margay-policy margay-proto
arrow margay-cni margay-proto
arrow margayctl margay-proto margay-ipam margay-policy
arrow margay-operator margay-proto margay-ipam
arrow margay-agent margay-proto margay-bgp margay-ipam margay-policy
exit $failed
