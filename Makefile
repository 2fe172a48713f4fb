# `make reproduce` and `make test` each work from a bare checkout; a second run does what is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: reproduce test unit check style types setup lock

reproduce: setup
	$(BIN)/snakemake

# Two processes, since two cores are what is promised; pytest alone runs all in one.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test: setup
	$(PYTEST) --durations 15

# The tests that start no workflow and need nothing but Python.
unit: setup
	$(PYTEST) -m "not (workflow or browser or slurm or conda or hub)"

# What CI runs before the tests.
check: style types

style: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

types: setup
	$(BIN)/mypy

setup: $(VENV)/.complete

$(VENV)/.complete: requirements.lock
	@$(PYTHON) tools/check_machine.py
	@echo "Setting up $(VENV): about 2 minutes and 2.3 GB"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

# Resolve requirements.in afresh, in an environment of its own.
lock:
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.in
	.lock-venv/bin/python tools/lock.py
	rm -rf .lock-venv
