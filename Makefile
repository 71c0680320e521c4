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
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-e protos -e terminal -e .
	@touch $@

.PHONY: setup
setup: $(READY) ## Prepare .venv (every other target does it by itself)

.PHONY: proto
proto: $(READY) ## Generate protos/gen, the reason catalogue and docs/errors.md
	@$(BIN)/python tools/generate_protos.py

.PHONY: proto-check
proto-check: $(READY) ## Fail if generated files are out of date
	@$(BIN)/python tools/generate_protos.py --check
