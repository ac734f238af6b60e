# The targets that people and machines use. `make` alone lists them; what takes more than a few lines
# lies in scripts/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What ships is built without cgo: a static binary, and Go's own resolver. The race detector, and so
# `make test`, is what needs a C compiler.
export CGO_ENABLED ?= 0

# The length of each fuzz target's turn in `make test-long`.
FUZZTIME ?= 60s
# How often `make bench` repeats each benchmark; the figures are medians with their spread.
BENCHCOUNT ?= 6
export FUZZTIME BENCHCOUNT

# The parts that `make bench-<part>` knows: a package each.
BENCH_PARTS := token policy registry

.NOTPARALLEL:
.PHONY: help deps run build stage test test-long test-story lint fmt tidy docs bench bench-authz bench-coldstart clean $(BENCH_PARTS:%=bench-%)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## find what the tests need besides Go, and install what can be installed
	@scripts/deps.sh

run: build ## the whole platform on this machine; PORT and LOCAL_DIR move it
	@exec bin/isectl dev

build: ## bin/isectl
	@go -C cmd/isectl build -o "$(CURDIR)/bin/isectl" .

stage: ## dist/: a zip of each function, after a rehearsal of the buildpack without a network
	@go -C test run ./cmd/stage -root "$(CURDIR)" -out "$(CURDIR)/dist"

test: deps ## every module's tests, with the race detector, in random order
	@scripts/test.sh

test-long: deps ## fuzz every target for FUZZTIME each, then the long simulations
	@scripts/test-long.sh

lint: ## golangci-lint, vet, formatting and known vulnerabilities
	@scripts/lint.sh

fmt: ## format what lint would complain of
	@scripts/lint.sh fmt

tidy: ## bring go.mod, go.sum, the workspace and the functions' deps.txt into agreement
	@scripts/modules.sh tidy

docs: ## write the generated tables into docs/
	@go -C test test -count=1 ./docs -args -update

bench: $(BENCH_PARTS:%=bench-%) bench-authz bench-coldstart ## every benchmark; one JSON line a headline figure

bench-token: ## verification and minting of access tokens
	@scripts/bench.sh shared/auth ./token

bench-policy: ## decisions
	@scripts/bench.sh shared/auth ./policy

bench-registry: deps ## discovery beside etcd's and bare handlers', in one run; snapshot look-up and pick
	@scripts/bench.sh shared/registry .
	@go -C test run ./benchregistry -root "$(CURDIR)"

test-story: deps ## the numbered end-to-end story, on one process and on separate ones
	@go -C test test -count=1 -run '^(TestLocal|TestProcesses)$$/^story$$' -v ./e2e

bench-authz: ## validate and decisions, beside OPA's and bare handlers, in one run
	@go -C test run ./benchauthz -root "$(CURDIR)"

bench-coldstart: ## a function's start to its first answer, beside that of a bare one with the same clients
	@go -C test run ./coldstart -root "$(CURDIR)"

clean: ## remove what was built and the local platform's state
	@rm -rf bin dist .local
