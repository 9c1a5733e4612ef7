#!/usr/bin/env bash
# `make down`: stops the demo's cluster and leaves nothing of it.
source "$(dirname "$0")/lib.sh"
require_linux
require_root down
lab=target/$(HOST_TRIPLE)/release/lab
[ -x "$lab" ] || { say "nothing was built here, so nothing runs"; exit 0; }
exec "$lab" down
