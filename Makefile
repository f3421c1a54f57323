# Everything that Argosy needs is a Go program; make only names what to run. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= v0.1.0-dev
# grpcnotrace leaves out pages of gRPC's that nobody serves: their templates look methods up by name, which makes the linker
# keep every method of every type of Kubernetes' clients, some 20 MB.
GOFLAGS_STATIC := -trimpath -buildvcs=false -tags grpcnotrace -ldflags "-s -w -X main.version=$(VERSION)"
AGENTS := cmd/executor-plugin/agents/argosy-node-amd64 cmd/executor-plugin/agents/argosy-node-arm64
LAB := go run ./test/lab/cmd/lab

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: build
build: bin/executor-plugin bin/argosy-node ## bin/executor-plugin (with argosy-node for amd64 and arm64 inside) and bin/argosy-node

.PHONY: FORCE
FORCE:

# argosy-node is built again each time, which costs nothing when nothing changed; the plugin carries these files.
cmd/executor-plugin/agents/argosy-node-%: FORCE
	@CGO_ENABLED=0 GOOS=linux GOARCH=$* go build $(GOFLAGS_STATIC) -o $@ ./cmd/argosy-node

bin/executor-plugin: $(AGENTS) FORCE
	@CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o $@ ./cmd/executor-plugin

bin/argosy-node: FORCE
	@CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o $@ ./cmd/argosy-node

.PHONY: image
image: bin/executor-plugin ## the plugin's container image, as bin/executor-plugin.tar
	@go run ./install/image

.PHONY: lint
lint: $(AGENTS) ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l cmd pkg steps test)" || { gofmt -l cmd pkg steps test; echo "run gofmt -w on these files"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

.PHONY: test
test: lint ## what needs no lab: unit tests, bad input, generated files, linters
	go test ./cmd/... ./pkg/... ./steps/... ./install/... ./workflows/... ./examples/... ./test/lab/... ./test/bench/... ./test/proof/...

# How long each fuzz test runs: seconds in CI, FUZZTIME=2h for a night.
FUZZTIME ?= 10s

# Where Go's own deadline falls between two inputs, it calls that a failure. Only a test that says this, and of no input, runs
# once more.
.PHONY: fuzz
fuzz: ## every fuzz test, one after another, each for FUZZTIME (10s); what one finds is kept in its testdata/fuzz
	@set -o pipefail; go test -list '^Fuzz' ./pkg/... \
	| awk '/^Fuzz/ { names[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, names[i]; n = 0 }' \
	| { failed=; said=$$(mktemp); trap 'rm -f "$$said"' EXIT; while read -r package name; do \
		echo "$$package $$name"; \
		fuzz() { go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$package" </dev/null 2>&1 | tee "$$said"; }; \
		in_time() { grep -qx ' *context deadline exceeded' "$$said" && ! grep -q 'Failing input' "$$said"; }; \
		fuzz || { in_time && fuzz; } || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "these found something:$$failed"; exit 1; }; }

.PHONY: e2e
e2e: build image ## the lab end to end: provisioning, joins, upgrades, faults, bad input on real machines (root)
	go test -count=1 -timeout 80m -v ./test/e2e/...

.PHONY: e2e-full
e2e-full: build image ## e2e, more faults, stores and rollouts, and the lab's own tests; takes hours (root)
	go test -count=1 -timeout 240m -p 1 -tags full,e2e -v ./test/lab ./test/e2e/...

.PHONY: proof
proof: ## docs/proof.md, from what the end-to-end tests showed in this checkout
	@go run ./test/proof/cmd/proof > docs/proof.md

.PHONY: bench
bench: build image ## figures as ratios to the hand-run floor, in one run (root)
	go run ./test/bench

.PHONY: demo
demo: build image ## the lab comes up, argo submit joins its machines, kubectl shows them Ready (root)
	./examples/demo.sh

.PHONY: generate
generate: ## rewrite the generated files
	go generate ./...

.PHONY: lab-up lab-down lab-env lab-status
lab-up: ## bring the lab up, or repair it (root)
	@$(LAB) up
lab-down: ## remove all that lab-up made, but the build cache (root)
	@$(LAB) down
lab-env: ## print export lines for your shell: eval "$(make -s lab-env)"
	@$(LAB) env
lab-status: ## what runs in the lab
	@$(LAB) status
