#!/bin/bash
# Makes the one image of agent, operator, plugin and CLI from static release
# binaries, without a Docker engine: target/images/margay.tar, an OCI layout
# that `ctr -n k8s.io images import` and `skopeo copy oci-archive:` take.
#
#   images/build.sh [DIRECTORY [OUTPUT]]
#
# DIRECTORY holds margay-agent, margay-operator, margay-cni and margayctl; when
# left out it is where `cargo build --release` puts them. OUTPUT is the directory
# of margay.tar, target/images when left out; builds of other binaries belong
# elsewhere. The same binaries make the same bytes, and when nothing changed
# nothing is done.
#
# In the image, and nothing else:
#   /usr/bin/{margay-agent,margay-operator,margayctl,kubectl-margay}
#   /opt/margay/cni/margay    the plugin, which the agent copies to the node
#   /tmp                      empty
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${2:-$root/target/images}
repository=margay.dev/margay
version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
name=$repository:$version

fail() {
    echo "images/build.sh: $1" >&2
    exit 2
}

need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

directory=${1:-}
if [[ -z $directory ]]; then
    need rustc "install Rust (https://rustup.rs), or name the directory of the binaries"
    directory=$root/target/$(rustc -vV | sed -n 's/^host: //p')/release
fi
binaries=(margay-agent margay-operator margay-cni margayctl)
for binary in "${binaries[@]}"; do
    [[ -x $directory/$binary ]] || fail "$directory/$binary is missing: run cargo build --release first"
done

hash=$(cd "$directory" && cat "$root/images/build.sh" "${binaries[@]}" | sha256sum | cut -c1-40)-$version
if [[ -e $out/margay.tar && -e $out/margay.stamp && $(<"$out/margay.stamp") == "$hash" ]]; then
    exit 0
fi

need umoci "apt-get install umoci"
need jq "apt-get install jq"
for binary in "${binaries[@]}"; do
    # The image has no dynamic loader. ldd fails or says so for what needs none.
    if ldd "$directory/$binary" 2>/dev/null | grep -q '=>'; then
        fail "$directory/$binary is linked dynamically: build with the repository's .cargo/config.toml"
    fi
done

mkdir -p "$out"
exec 9>"$out/lock"
flock 9
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

files=$work/files
install -d -m 755 "$files"/{usr,usr/bin,opt,opt/margay,opt/margay/cni}
install -d -m 1777 "$files/tmp"
install -m 755 "$directory"/{margay-agent,margay-operator,margayctl} "$files/usr/bin/"
install -m 755 "$directory/margay-cni" "$files/opt/margay/cni/margay"
ln -s margayctl "$files/usr/bin/kubectl-margay"
# Times and compression are all that could differ between two builds.
find "$files" -exec touch --no-dereference --date=@0 {} +

layout=$work/layout
umoci init --layout "$layout"
umoci new --image "$layout:$version"
for top in usr opt tmp; do
    umoci insert --image "$layout:$version" --history.created 1970-01-01T00:00:00Z "$files/$top" "/$top"
done
umoci config --image "$layout:$version" \
    --created 1970-01-01T00:00:00Z --history.created 1970-01-01T00:00:00Z \
    --config.user 0:0 --config.workingdir / --config.env PATH=/usr/bin \
    --config.label org.opencontainers.image.title=margay \
    --config.label "org.opencontainers.image.version=$version" \
    --config.label org.opencontainers.image.licenses=Apache-2.0 \
    --manifest.annotation org.opencontainers.image.title=margay \
    --manifest.annotation "org.opencontainers.image.version=$version" \
    --manifest.annotation org.opencontainers.image.licenses=Apache-2.0 \
    --manifest.annotation "org.opencontainers.image.description=BGP-routed Kubernetes network: agent, operator, plugin and CLI"
umoci gc --layout "$layout"
jq --arg name "$name" --arg version "$version" '.manifests[].annotations += {
        "io.containerd.image.name": $name, "org.opencontainers.image.ref.name": $version
    }' "$layout/index.json" >"$work/index.json"
mv "$work/index.json" "$layout/index.json"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    -C "$layout" -cf "$work/margay.tar" .
mv "$work/margay.tar" "$out/margay.tar"
echo "$hash" >"$out/margay.stamp"
echo "$out/margay.tar: $name, $(($(stat -c %s "$out/margay.tar") / 1048576)) MB"
