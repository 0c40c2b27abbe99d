# Two commands matter: `make demo` and `make test`. Everything runs in .venv, which is made from requirements.lock.

PYTHON ?= python3
DEMO   := run sparse-tokens/error --set loss=logistic --set ratio=0.5,1,2,4 --set dim=200 --out demo

VENV   := .venv
STAMP  := $(VENV)/.made-from-lock
PIP    := $(VENV)/bin/python -m pip -qq --disable-pip-version-check --no-input
PYTEST := $(VENV)/bin/pytest -n 2 --dist worksteal

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-types lint docs clean environment

help:
	@echo "make demo        run the flagship experiment; leaves a figure and a report in demo/"
	@echo "make test        run the tests (test-all: the long ones too; test-types: with shapes and types checked)"
	@echo "make lint        ruff and basedpyright"
	@echo "make docs        build the documentation into site/"
	@echo "make clean       remove everything that make made, .venv too"

demo: $(STAMP)
	$(VENV)/bin/solvable $(DEMO)
	$(VENV)/bin/solvable report demo

test: $(STAMP)
	$(PYTEST) -m "not slow and not long"

test-all: $(STAMP)
	$(PYTEST)

test-types: $(STAMP)
	$(PYTEST) -m "not slow" --jaxtyping-packages=solvable,beartype.beartype

lint: $(STAMP)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/basedpyright

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

clean:
	rm -rf $(VENV) demo site dist .jax-cache .hypothesis .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that works is brought up to date in place. --no-deps: what is not pinned is not installed; pip check
# then says whether a pin is missing.
$(STAMP): requirements.lock pyproject.toml
	@echo "making $(VENV) from requirements.lock ..."
	@$(VENV)/bin/python -c "" 2>/dev/null || $(MAKE) environment
	@$(PIP) install --no-deps -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(PIP) check
	@touch $@

environment:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'solvable needs Python 3.11 or newer and "$(PYTHON)" is not; say which one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
