#!/usr/bin/env bash
# `make demo`: from a bare machine to a cluster whose only network is Margay, shown from outside; left running.
source "$(dirname "$0")/lib.sh"
STEPS=5
require_basics demo
step "Debian packages"; install_packages
step "Margay: build, optimised and static"; build_product
step "the cluster's own binaries"; tests/kubernetes/build.sh
step "the image"; images/build.sh
step "the cluster, and what it shows"
"$RELEASE/scenario" demo
