# Shared by the scripts of this folder: checks in the first second, progress, tools. Sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
STARTED=$SECONDS
STEP=0
STEPS=${STEPS:-0}

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# A line a step: which of how many, what, how long since the start.
step() {
    STEP=$((STEP + 1))
    printf '\n[%2d/%d] %s (%d s so far)\n' "$STEP" "$STEPS" "$*" $((SECONDS - STARTED))
}

require_root() { [ "$(id -u)" = 0 ] || die "this makes network namespaces and mounts: run it as root (sudo make $1)"; }
require_linux() { [ "$(uname -s)" = Linux ] || die "Linux is needed, this is $(uname -s)"; }
require_tool() { command -v "$1" >/dev/null || die "$1 is not installed: $2"; }

require_basics() {
    require_linux
    require_root "$1"
    require_tool cargo "install Rust 1.92 or newer (rustup, or your distribution)"
    require_tool cc "install a C compiler (Debian: apt-get install gcc)"
    require_tool go "install Go 1.26 or newer"
    require_tool git "install git"
}

# Debian packages that the lab and the tests use; only what is missing is installed.
install_packages() {
    local missing=()
    while read -r package; do
        [[ -z $package || $package == \#* ]] && continue
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done < tests/kubernetes/debian-packages.txt
    [ ${#missing[@]} = 0 ] && return 0
    command -v apt-get >/dev/null || die "these packages are missing and this is not Debian, so install their equivalents: ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p target
    { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } > target/apt.log 2>&1 || { tail -n 20 target/apt.log >&2; die "apt-get failed, its whole output is in target/apt.log"; }
}

HOST_TRIPLE() { rustc -vV | sed -n 's/^host: //p'; }

build_product() {
    cargo build --release --locked --workspace --bins
    RELEASE=target/$(HOST_TRIPLE)/release
}
