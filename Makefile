# Gongji (共济). Every target bootstraps what it needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_BENCH := $(VENV)/.ready-bench
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONWARNINGS :=

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements/dev.txt pyproject.toml protos/pyproject.toml terminal/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Gongji needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) has no venv module. On Debian: apt-get install python3-venv"; exit 1; }
	@echo "Preparing $(VENV) (once; about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation \
		-e protos -e terminal -e '.[services,embedded]'
	@touch $@

.PHONY: setup
setup: $(READY) ## Prepare .venv (every other target does it by itself)

.PHONY: proto
proto: $(READY) ## Generate protos/gen, the reason catalogue and docs/errors.md
	@$(BIN)/python tools/generate_protos.py

.PHONY: proto-check
proto-check: $(READY) ## Fail if generated files are out of date
	@$(BIN)/python tools/generate_protos.py --check

.PHONY: release-contract
release-contract: $(READY) ## Keep the contract as it is released: protos/released/<version>, which later ones may not break
	@$(BIN)/python -m tools.release_contract

.PHONY: demo
demo: $(READY) ## The main job, end to end: a bill is split over a family and paid, all or nothing
	@$(BIN)/gongji demo

.PHONY: up
up: $(READY) ## Start PostgreSQL, NATS and the five processes; ctrl-C stops them
	@$(BIN)/gongji up

WORKERS ?= 2
TESTS ?= tests
.PHONY: test
test: $(READY) ## Every test but the long ones (see fault), against real PostgreSQL and NATS
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not long" $(TESTS)
	@echo "Left out: the tests marked long, which take minutes each. \`make fault\` runs them."

.PHONY: model
model: $(READY) ## Search every state of a payment over 2 and 3 ledgers, and catch every fault put in by hand
	@$(BIN)/python -m tests.model.run

SEEDS ?= 2000:12000
.PHONY: fault
fault: $(READY) ## 2,000 simulated seeds, real processes killed at every point, faults put into the source, the long tests
	@$(BIN)/python -m tests.fault.simulate --seeds 0:2000 --workers $(WORKERS)
	@$(BIN)/python -m tests.fault.matrix --workers $(WORKERS)
	@$(BIN)/python -m tests.fault.by_hand --workers $(WORKERS)
	@$(BIN)/pytest -m long $(TESTS)

.PHONY: fault-long
fault-long: $(READY) ## The simulation over the seeds that SEEDS=A:B names
	@$(BIN)/python -m tests.fault.simulate --seeds $(SEEDS) --workers $(WORKERS)

$(READY_BENCH): requirements/bench.txt $(READY)
	@echo "Installing what make bench compares with ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

ROUNDS ?=
BENCH_FLAGS ?=
.PHONY: bench
bench: $(READY_BENCH) ## What a settlement costs, beside others, identity and the desk; ROUNDS=…, or BENCH_FLAGS=--quick (docs/performance.md)
	@$(BIN)/python -m bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(BENCH_FLAGS)
	@$(BIN)/python -m bench.identity $(if $(filter --quick,$(BENCH_FLAGS)),--small)
	@$(BIN)/python -m bench.desk $(if $(filter --quick,$(BENCH_FLAGS)),--small)

.PHONY: bench-growth
bench-growth: $(READY) ## The same cost with 100 times the data, a hot account, recovery, memory (40 minutes; BENCH_FLAGS=--small tries it)
	@$(BIN)/python -m bench.growth $(BENCH_FLAGS)

.PHONY: bench-scale
bench-scale: $(READY) ## 1, 2 and 4 settlement replicas; 2, 4 and 8 areas
	@$(BIN)/python -m bench.scale $(BENCH_FLAGS)

.PHONY: bench-capacity
bench-capacity: $(READY) ## Compute docs/scale.md anew from what make bench has measured; measures nothing
	@$(BIN)/python -m bench.capacity $(BENCH_FLAGS)

.PHONY: bench-commits
bench-commits: $(READY) ## What each change to the speed brought, commit beside commit (a quarter of an hour; needs the history)
	@$(BIN)/python -m bench.commits $(BENCH_FLAGS)

.PHONY: bench-start
bench-start: $(READY) ## How long the imports and a warm `gongji up` take
	@$(BIN)/python -m bench.start $(BENCH_FLAGS)

.PHONY: bench-identity
bench-identity: $(READY) ## Of it identity alone: a decoding beside an empty RPC, kinship among a million people beside ten thousand
	@$(BIN)/python -m bench.identity $(BENCH_FLAGS)

.PHONY: bench-desk
bench-desk: $(READY) ## Of it the desk alone: 1101, PreSettle + Settle and a revocation beside an empty RPC (BENCH_FLAGS=--small tries it)
	@$(BIN)/python -m bench.desk $(BENCH_FLAGS)

.PHONY: lint
lint: $(READY) ## ruff, mypy --strict, import rules, buf lint, nothing released is broken
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd protos && $(CURDIR)/$(BIN)/buf lint && $(CURDIR)/$(BIN)/buf format --diff --exit-code
	@$(BIN)/python -m tools.release_contract --check

.PHONY: k8s-check
k8s-check: $(READY) ## Render the Kubernetes manifests (needs kubectl), validate them, hold them against the code
	@$(BIN)/python -m tools.check_kubernetes

.PHONY: check
check: lint proto-check test ## What CI runs (with k8s-check where kubectl is installed)
	@if command -v kubectl >/dev/null; then $(MAKE) --no-print-directory k8s-check; \
		else echo "SKIPPED: k8s-check, because kubectl is not installed here. Nothing was checked of deploy/kubernetes."; fi

.PHONY: requirements
requirements: $(READY) ## Resolve the pinned requirements anew (needs a package registry)
	@for name in server dev bench; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-emit-find-links --no-header --no-annotate requirements/$$name.in -o requirements/$$name.txt; done

BASE ?= python:3.13-slim
IMAGE ?= gongji:dev
BUILD_FLAGS ?=
.PHONY: image
image: ## Build the server's image (needs a Docker engine); BASE=… the base image, BUILD_FLAGS=… see deploy/README.md
	@docker version --format '{{.Server.Version}}' >/dev/null 2>&1 \
		|| { echo "No Docker engine answers: start one (on Debian: apt-get install docker.io), then try again."; exit 1; }
	DOCKER_BUILDKIT=1 docker build $(BUILD_FLAGS) --build-arg BASE=$(BASE) --tag $(IMAGE) --file deploy/Dockerfile .
