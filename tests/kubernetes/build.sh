#!/bin/bash
# Builds the Kubernetes binaries and the lab's container images that are
# missing or out of date, into target/kubernetes/bin and target/lab/images of
# the checkout. When nothing changed it ends within 0.2 s without calling Go.
#
# What is built comes from the Go modules beside this script; a binary is up to
# date when the hash of its module files and of this script equals its stamp.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$root/target/kubernetes/bin
stamps=$root/target/kubernetes/stamps
images=$root/target/lab/images

kubernetes=1.34.4
coredns=1.15.0
agnhost=2.56

# name | directory of the module | package
binaries="
kube-apiserver|.|k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager|.|k8s.io/kubernetes/cmd/kube-controller-manager
kube-scheduler|.|k8s.io/kubernetes/cmd/kube-scheduler
kubelet|.|k8s.io/kubernetes/cmd/kubelet
kube-proxy|.|k8s.io/kubernetes/cmd/kube-proxy
kubectl|.|k8s.io/kubernetes/cmd/kubectl
agnhost|.|k8s.io/kubernetes/test/images/agnhost
pause|.|./pause
coredns|coredns|.
"
# name | tag | arguments that the image starts with
container_images="
pause|1|
agnhost|$agnhost|pause
coredns|$coredns|
"

# A server built without these reports an unparsable version, and clients refuse it.
version_flags() {
    local package flags="-s -w"
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=v$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=34"
        flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=0000000000000000000000000000000000000000"
        flags+=" -X $package.buildDate=1970-01-01T00:00:00Z"
    done
    echo "$flags"
}

hash_of() { cat "$@" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-40; }

# is_current FILE HASH: FILE exists and was built from HASH.
is_current() {
    [[ -e $1 && -e $stamps/${1##*/} && $(<"$stamps/${1##*/}") == "$2" ]]
}

need() {
    command -v "$1" >/dev/null && return
    echo "tests/kubernetes/build.sh: $1 is missing: $2" >&2
    exit 2
}

build_binary() {
    local name=$1 module=$2 package=$3
    # Without symbols for a debugger, which are stripped anyway, and with memory for time.
    (cd "$here/$module" && GOFLAGS= CGO_ENABLED=0 GOGC=400 go build -mod=readonly -trimpath -buildvcs=false \
        -gcflags=all=-dwarf=false \
        -ldflags "$(version_flags)" -o "$bin/.$name.new" "$package")
    mv "$bin/.$name.new" "$bin/$name"
}

# An OCI layout of one static binary at the root of an otherwise empty file
# system. containerd takes the image's name from the annotation.
build_image() {
    local name=$1 tag=$2 arguments=$3 work=$images/.$1.work
    rm -rf "$work"
    mkdir -p "$work"
    umoci init --layout "$work/oci"
    umoci new --image "$work/oci:$tag"
    umoci insert --image "$work/oci:$tag" "$bin/$name" "/$name"
    umoci config --image "$work/oci:$tag" --config.entrypoint "/$name" \
        ${arguments:+--config.cmd "$arguments"}
    umoci gc --layout "$work/oci"
    jq --arg name "lab.local/$name:$tag" \
        '.manifests[].annotations["io.containerd.image.name"] = $name' \
        "$work/oci/index.json" >"$work/index.json"
    mv "$work/index.json" "$work/oci/index.json"
    tar -C "$work/oci" -cf "$images/.$name.new" .
    mv "$images/.$name.new" "$images/$name.tar"
    rm -rf "$work"
}

# step TEXT COMMAND...: runs COMMAND with a progress line; its output is shown only if it fails.
step() {
    local text=$1 begin=$SECONDS log
    shift
    count=$((count + 1))
    printf '[%d/%d] building %s … ' "$count" "$total" "$text"
    log=$(mktemp)
    # In the background, because errexit is off in a function that is an operand of if.
    "$@" >"$log" 2>&1 &
    if ! wait $!; then
        printf 'failed\n'
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
    printf '%d s\n' $((SECONDS - begin))
}

# Fills binary_work and image_work with the lines of what is out of date.
find_work() {
    local name module package tag arguments
    binary_work=() image_work=()
    kubernetes_hash=$(hash_of "$here/go.mod" "$here/go.sum" "$here/pause/main.go")
    coredns_hash=$(hash_of "$here/coredns/go.mod" "$here/coredns/go.sum" "$here/coredns/main.go")
    while IFS='|' read -r name module package; do
        [[ -z $name ]] && continue
        is_current "$bin/$name" "$(module_hash "$module")" || binary_work+=("$name|$module|$package")
    done <<<"$binaries"
    while IFS='|' read -r name tag arguments; do
        [[ -z $name ]] && continue
        is_current "$images/$name.tar" "$(image_hash "$name")" || image_work+=("$name|$tag|$arguments")
    done <<<"$container_images"
    total=$((${#binary_work[@]} + ${#image_work[@]}))
}

module_hash() { if [[ $1 == coredns ]]; then echo "$coredns_hash"; else echo "$kubernetes_hash"; fi; }
image_hash() { if [[ $1 == coredns ]]; then echo "$coredns_hash"; else echo "$kubernetes_hash"; fi; }

find_work
[[ $total == 0 ]] && exit 0

need go "install Go 1.26 or later (https://go.dev/dl)"
need umoci "apt-get install umoci"
need jq "apt-get install jq"
mkdir -p "$bin" "$stamps" "$images"
exec 9>"$root/target/kubernetes/lock"
flock 9
find_work # another build may have done it while this one waited
count=0
for line in "${binary_work[@]}"; do
    IFS='|' read -r name module package <<<"$line"
    step "$name" build_binary "$name" "$module" "$package"
    module_hash "$module" >"$stamps/$name"
done
for line in "${image_work[@]}"; do
    IFS='|' read -r name tag arguments <<<"$line"
    step "image lab.local/$name:$tag" build_image "$name" "$tag" "$arguments"
    image_hash "$name" >"$stamps/$name.tar"
done
