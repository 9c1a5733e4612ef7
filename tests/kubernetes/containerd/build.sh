#!/bin/bash
# Builds containerd 2 with its shim and client into target/kubernetes/containerd2 of the checkout: for labs with
# `--runtime containerd2` only. When nothing changed it ends at once.
#
# A script of its own, because the hash of ../build.sh is part of the stamps of what that one builds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
out=$root/target/kubernetes/containerd2
stamp=$out/stamp
version=$(awk '$1 == "github.com/containerd/containerd/v2" {print $2}' "$here/go.mod")
hash=$(cat "$here/go.mod" "$here/go.sum" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-40)

is_current() { [[ -e $stamp && $(<"$stamp") == "$hash" ]]; }
is_current && exit 0
command -v go >/dev/null || {
    echo "tests/kubernetes/containerd/build.sh: go is missing: install Go 1.26 or later (https://go.dev/dl)" >&2
    exit 2
}
mkdir -p "$out"
exec 9>"$out/lock"
flock 9
is_current && exit 0
printf 'building containerd %s … ' "$version"
begin=$SECONDS
package=github.com/containerd/containerd/v2
cd "$here"
for name in containerd containerd-shim-runc-v2 ctr; do
    GOFLAGS= CGO_ENABLED=0 go build -mod=readonly -trimpath -buildvcs=false -tags no_btrfs,no_devmapper,no_zfs,no_aufs \
        -ldflags "-s -w -X $package/version.Version=$version" -o "$out/.$name.new" "$package/cmd/$name"
    mv "$out/.$name.new" "$out/$name"
done
echo "$hash" >"$stamp"
printf '%d s\n' $((SECONDS - begin))
