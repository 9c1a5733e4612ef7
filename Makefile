# Margay. `make demo` shows it, `make test` proves it; `make help` lists the rest.
SHELL := /bin/bash
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE := target/$(HOST)/release
LAB := $(RELEASE)/lab

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## a real Kubernetes on this machine with Margay as its only network, shown from outside; left running
	@tests/demo.sh

.PHONY: down
down: ## stop the demo's cluster
	@tests/down.sh

.PHONY: test
test: ## everything: format, lints, licences, gates, unit tests, scenarios on real clusters
	@tests/run.sh

.PHONY: test-unit
test-unit: ## format, lints, licences, gates and unit tests only
	@tests/run.sh unit

.PHONY: test-lab
test-lab: ## scenarios on a real cluster; SCENARIO=name runs one
	@tests/run.sh lab $(SCENARIO)

.PHONY: fuzz
fuzz: ## fuzz what reads octets from BGP peers, ten minutes a target; SECONDS_EACH=180, TARGET=update
	@SECONDS_EACH="$(SECONDS_EACH)" TARGET="$(TARGET)" tests/fuzz.sh

.PHONY: bench-bgp
bench-bgp: ## measure the speaker beside BIRD, FRR and GoBGP; BGPBENCH=folder of the harness
	@BGPBENCH=$(BGPBENCH) tests/bench/bgp/run.sh

.PHONY: build
build: ## the release binaries, static
	@cargo build --release --locked --workspace --bins

.PHONY: images
images: build ## the OCI image, without a Docker engine
	@images/build.sh

.PHONY: kubernetes
kubernetes: ## the test cluster's own binaries
	@tests/kubernetes/build.sh

.PHONY: manifests
manifests: ## regenerate manifests/crds.yaml from the types
	@cargo run -q --release --locked -p margay-proto --bin crdgen > manifests/crds.yaml.new && mv manifests/crds.yaml.new manifests/crds.yaml

.PHONY: fmt
fmt: ## format
	@cargo fmt --all
