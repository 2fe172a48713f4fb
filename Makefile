# `make reproduce` and `make test` each work from a bare checkout; a second run does what is missing.
VENV := .venv
BIN := $(VENV)/bin
# The first Python of the path that the pinned packages have wheels for; else the error names the need.
PYTHON ?= $(shell sh tools/find_python.sh)

# Of a user's settings those that would put packages elsewhere, or take them from elsewhere.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV
export PIP_USER := 0
# Libraries ask for both; a container may run as a user that has no entry anywhere.
export USER ?= $(shell id -un 2>/dev/null || id -u)
export HOME ?= $(CURDIR)

# Scripts of an environment name its folder: in a checkout that was moved it is set up again.
ifneq ($(wildcard $(VENV)/.complete),)
ifeq ($(shell head -3 $(BIN)/pip 2>/dev/null | grep -F "$(realpath $(VENV))/bin/"),)
.PHONY: $(VENV)/.complete
endif
endif

.PHONY: reproduce test unit check style types docs schema setup lock

reproduce: setup
	$(BIN)/snakemake

# Two processes, since two cores are what is promised; pytest alone runs all in one.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

test: setup
	$(PYTEST) --durations 15

# The tests that start no workflow and need nothing but Python, in two minutes.
unit: setup
	$(PYTEST) -m "not (process or workflow or browser or slurm or conda or hub or slow)"

# What CI runs before the tests.
check: style types docs

style: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

types: setup
	$(BIN)/mypy

# The documents as a site, in site/; a broken link is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The reference of the configuration and its JSON schema, from the types.
schema: setup
	$(BIN)/python tools/configuration.py

setup: $(VENV)/.complete

# The lock has the hash of every package, and all that they need. But which build of torch is right
# the machine says, by its pip's configuration, and pip would take PyPI's for its hash being known;
# so torch comes first, and last what a build with CUDA names of its own.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TORCH := $(shell grep -o '^torch==[0-9.]*' requirements.lock 2>/dev/null)

# A link is removed and not emptied: another checkout may work with what it points to.
$(VENV)/.complete: requirements.lock
	@$(PYTHON) tools/check_machine.py
	@echo "Setting up $(VENV): about 3 minutes and 2.3 GB"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(PIP) --no-deps $(TORCH))
	$(PIP) --no-deps --require-hashes --requirement requirements.lock
	@test -x $(BIN)/snakemake || { echo "error: pip put the packages elsewhere: take 'target' and 'prefix' out of its configuration (pip config list)" >&2; exit 1; }
	$(PIP) torch
	@touch $@

# Resolve requirements.in afresh, in an environment of its own.
lock:
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.in
	.lock-venv/bin/python tools/lock.py
	rm -rf .lock-venv
