.DEFAULT_GOAL := help
.PHONY: help setup demo test test-chaos test-soak lint quick check bench fmt clean

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Tests kill processes, not machines: what they write lies in memory, where that is plenty and
# programs may run from it. That saves them thousands of syncs.
MEMORY := $(shell df -k --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 8000000 { print "/dev/shm" }')
MEMORY := $(if $(shell grep ' $(MEMORY) .*noexec' /proc/mounts 2>/dev/null),,$(MEMORY))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)-dev ## Create .venv and install the package with every tool

demo: $(STAMP)-demo ## A sweep, its backup, two disasters and a post-mortem, each claim checked
	$(BIN)/obelisk-ops demo

test: $(STAMP)-dev ## The whole suite, with the real Litestream and a real S3 server
	@$(BIN)/python -m compileall -q obelisk_ops  # hundreds of processes start with it
	$(if $(MEMORY),TMPDIR=$(MEMORY)) $(BIN)/pytest -n 5 --dist loadgroup -m "not chaos"

test-chaos: $(STAMP)-dev ## The random kill tests in full count
	$(BIN)/pytest -m chaos

test-soak: $(STAMP)-dev ## Fifty databases, random faults and kills, half an hour (SOAK_MINUTES)
	$(BIN)/pytest -s tests/soak/soak.py

lint: $(STAMP)-dev ## Format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: $(STAMP)-dev ## The tests that need neither Litestream nor S3
	$(BIN)/pytest -q -n 2 tests/unit tests/repo

# `test` runs the quick ones, too: asked for both, they run once.
check: lint $(if $(filter test,$(MAKECMDGOALS)),,quick) ## Both of these

bench: $(STAMP)-dev ## How fast we are, beside bare SQLite and other engines, in one run: minutes
	$(BIN)/python -m benchmarks

fmt: $(STAMP)-dev ## Format, fix what can be fixed, write the generated pages
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python scripts/gen_reference.py

clean: ## Remove what the targets above made
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP)-demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(STAMP)-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@ $(STAMP)-demo
