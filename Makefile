# Everything that Argosy needs is a Go program; make only names what to run. `make help` lists the targets.
SHELL := /bin/bash
# A pipe fails when any part of it does.
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= v0.1.0-dev
# grpcnotrace leaves out pages of gRPC's that nobody serves: their templates look methods up by name, which makes the linker
# keep every method of every type of Kubernetes' clients, some 20 MB.
GOFLAGS_STATIC := -trimpath -buildvcs=false -tags grpcnotrace -ldflags "-s -w -X main.version=$(VERSION)"
AGENTS := cmd/internal/agents/programs/argosy-node-amd64 cmd/internal/agents/programs/argosy-node-arm64
LAB := go run ./test/lab/cmd/lab
# Nothing of Argosy needs a C compiler. With one setting, all targets share what is compiled.
export CGO_ENABLED := 0
# A compiler that collects its garbage less often takes a quarter less of the processors, for some more memory.
COMPILE := GOGC=800

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

.PHONY: build
build: bin/argosy bin/executor-plugin bin/argosy-node ## bin/argosy and bin/executor-plugin (both with argosy-node for amd64 and arm64 inside), and bin/argosy-node

.PHONY: FORCE
FORCE:

# argosy-node is built again each time, which costs nothing when nothing changed; argosy and the plugin embed these files. They
# get their names when they are whole, since two targets may run side by side. With the digests beside them, the plugin knows
# the names that they have on machines without reading 20 MB into its memory.
cmd/internal/agents/programs/argosy-node-%: FORCE
	@mkdir -p bin && built=bin/.argosy-node-$*-$$$$ && \
	$(COMPILE) GOOS=linux GOARCH=$* go build $(GOFLAGS_STATIC) -o $$built ./cmd/argosy-node && \
	sha256sum <$$built | cut -c1-64 >$$built.sha256 && mv $$built.sha256 $@.sha256 && mv $$built $@

bin/argosy bin/executor-plugin: bin/%: $(AGENTS) FORCE
	@$(COMPILE) go build $(GOFLAGS_STATIC) -o $@ ./cmd/$*

bin/argosy-node: FORCE
	@$(COMPILE) go build $(GOFLAGS_STATIC) -o $@ ./cmd/argosy-node

bin/lab: FORCE
	@$(COMPILE) go build -o $@ ./test/lab/cmd/lab

.PHONY: image
image: bin/executor-plugin ## the plugin's container image, as bin/executor-plugin.tar
	@go run ./install/image

# The programs of a release are named by their platform: bin/release/darwin-arm64/argosy.
RELEASE := $(addprefix bin/release/,linux-amd64/argosy linux-arm64/argosy darwin-amd64/argosy darwin-arm64/argosy \
	linux-amd64/executor-plugin linux-arm64/executor-plugin)

$(RELEASE): bin/release/%: $(AGENTS) FORCE
	@$(COMPILE) GOOS=$(word 1,$(subst -, ,$(subst /, ,$*))) GOARCH=$(word 2,$(subst -, ,$(subst /, ,$*))) \
	go build $(GOFLAGS_STATIC) -o $@ ./cmd/$(notdir $*)

REGISTRY ?= ghcr.io/argosy-dev
PUSH ?=
KEY ?=

.PHONY: release
release: $(RELEASE) ## all files of release VERSION, in dist/VERSION; PUSH=true pushes image and chart to REGISTRY, KEY=cosign.key signs
	@go run ./install/release -version '$(VERSION)' -registry '$(REGISTRY)' $(if $(PUSH),-push) $(if $(KEY),-key '$(KEY)')

# It is compiled by itself: as a tool of go.mod it would decide on versions of what the programs use.
GOLANGCI := $(COMPILE) go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.11.4

.PHONY: lint
lint: $(AGENTS) ## go vet, staticcheck, and the linters and formatters of .golangci.yml
	$(COMPILE) go vet ./...
	$(COMPILE) go tool staticcheck ./...
	$(COMPILE) go vet -tags full,e2e ./test/lab ./test/e2e ./test/scale ./workflows
	$(COMPILE) go vet -tags vm ./test/lab ./test/e2e
	$(COMPILE) go tool staticcheck -tags full,e2e ./test/lab ./test/e2e ./test/scale
	$(GOLANGCI) run ./...

.PHONY: format
format: ## format all Go files as make lint wants them
	@$(GOLANGCI) fmt

# The packages that need no lab. Go's own vet is left to `make lint`, which runs all of it.
UNIT := ./cmd/... ./internal/... ./pkg/... ./install/... ./charts/... ./workflows/... ./examples/... ./docs/... \
	./test/lab/... ./test/site/... ./test/bench/... ./test/simulated ./test/scale/cmd/... ./test/proof/... ./test/shard/... ./test/slowest/...

.PHONY: test
test: needs-test $(AGENTS) ## what needs no lab: unit tests, bad input, generated files
	@$(COMPILE) go test -vet=off -json $(UNIT) | go run ./test/slowest -quiet
	@cd test/rules && $(COMPILE) go test -vet=off . # a module of its own, with what Prometheus needs

.PHONY: browser
browser: needs-browser ## a headless Chromium looks at the page of a report: light, dark, a phone, a large screen
	@$(COMPILE) go test -vet=off -count=1 -tags browser -run Browser ./internal/report

# PICTURES=docs/images rewrites the pictures of the documentation.
PICTURES ?=

.PHONY: browser-argo
browser-argo: needs-lab needs-argo-pages build bin/lab ## Chromium looks at all workflows in Argo's UI, whose pages npm's registry is needed for (root)
	@bin/lab build
	@bin/lab build --argo-pages
	@go test -vet=off -count=1 -timeout 20m -tags browser -run InArgosUI ./test/scale $(if $(PICTURES),-pictures $(abspath $(PICTURES)))

# What a target needs of Debian is installed, or named, before anything is compiled.
.PHONY: needs-test needs-browser needs-argo-pages needs-lab needs-vm needs-docs
needs-test needs-browser needs-argo-pages needs-lab needs-vm needs-docs: needs-%:
	@test/packages.sh $*

# How long each fuzz test runs: seconds in CI, FUZZTIME=2h for a night; and of which packages.
FUZZTIME ?= 10s
FUZZ ?= ./internal/... ./pkg/...

# Where Go's own deadline falls between two inputs, it calls that a failure. Only a test that says this, and of no input, runs
# once more.
.PHONY: fuzz
fuzz: ## every fuzz test, one after another, each for FUZZTIME (10s); what one finds is kept in its testdata/fuzz
	@go test -vet=off -list '^Fuzz' $(FUZZ) \
	| awk '/^Fuzz/ { names[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, names[i]; n = 0 }' \
	| { failed=; said=$$(mktemp); trap 'rm -f "$$said"' EXIT; while read -r package name; do \
		echo "$$package $$name"; \
		fuzz() { go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$package" </dev/null 2>&1 | tee "$$said"; }; \
		in_time() { grep -qx ' *context deadline exceeded' "$$said" && ! grep -q 'Failing input' "$$said"; }; \
		fuzz || { in_time && fuzz; } || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "these found something:$$failed"; exit 1; }; }

# The tests of stores run the etcd and the kine that the lab has built; they need nothing else of it, and it waits a lot.
.PHONY: e2e
e2e: needs-lab build image bin/lab ## the lab end to end, one proof of each: provision, join, upgrade, faults, remove, backup (root)
	@bin/lab build --stores
	@go test -vet=off -count=1 -timeout 80m -p 2 -json ./test/e2e ./internal/store | go run ./test/slowest

# SHARD=2/6 runs the second of six parts of about the same length.
SHARD ?=
FULL := -vet=off -tags full,e2e ./test/lab ./test/e2e

.PHONY: e2e-full
e2e-full: needs-lab build image bin/lab ## e2e, more faults, stores and rollouts, the lab's own tests, and Argo 3.7; SHARD=2/6 for a part (root)
	@$(if $(SHARD),part=$$(go test -list '^Test' $(FULL) | go run ./test/shard $(SHARD)) &&) \
	go test -count=1 -timeout 300m -p 1 $(if $(SHARD),-run "$$part") -json $(FULL) | go run ./test/slowest
	@$(if $(SHARD),,$(MAKE) browser-argo e2e-argo37)

# A lab has one version of Argo from its start to its end.
.PHONY: e2e-argo37
e2e-argo37: needs-lab build image bin/lab ## the tests of make e2e on Argo Workflows 3.7 (root)
	@bin/lab down
	@ARGOSY_LAB_ARGO=3.7 go test -vet=off -count=1 -timeout 80m -json ./test/e2e | go run ./test/slowest; \
	code=$$?; bin/lab down && exit $$code

.PHONY: e2e-vm
e2e-vm: needs-lab needs-vm build image bin/lab ## Debian bookworm and trixie as virtual machines: power cuts, limits, reboot, upgrade, reset (root)
	@go test -vet=off -count=1 -timeout 300m -p 1 -tags vm -run '^TestVirtualMachine' -json ./test/lab ./test/e2e | go run ./test/slowest

.PHONY: scale
scale: build bin/lab ## workflows with up to 10,000 simulated machines: sizes, memory, requests, invariants (root; an hour or two)
	@bin/lab build
	@go test -count=1 -tags full -timeout 60m -v -run 'TestObjects|TestAnUpgradeOf' ./workflows
	@go test -count=1 -tags full -timeout 180m -v ./test/scale

.PHONY: proof
proof: ## docs/proof.md, from what the end-to-end tests showed in this checkout
	@go run ./test/proof/cmd/proof > docs/proof.md

.PHONY: docs
docs: needs-docs ## the documentation as a site, in bin/site; a warning ends the build
	@mkdocs build --quiet --clean

.PHONY: bench
bench: needs-lab build image ## figures as ratios to the hand-run floor, in one run (root)
	go run ./test/bench

.PHONY: demo
demo: needs-lab ## argo submit provisions a control plane and joins three machines, pods answer through a Service (root)
	@./examples/demo.sh

.PHONY: generate
generate: ## rewrite the generated files
	go generate ./...

.PHONY: lab-up lab-down lab-env lab-status
lab-up: needs-lab ## bring the lab up, or repair it (root)
	@$(LAB) up
lab-down: ## remove all that lab-up made, but the build cache (root)
	@$(LAB) down
lab-env: ## print export lines for your shell: eval "$(make -s lab-env)"
	@$(LAB) env
lab-status: ## what runs in the lab
	@$(LAB) status
