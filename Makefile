# `make help` lists the targets. Settings, e.g. `make demo PYTHON=python3.12`:
#   PYTHON       the Python that makes the virtual environment (python3)
#   VENV         its folder (.venv)
#   TORCH_INDEX  wheel index to take torch from, e.g. that of the CPU builds where pip would fetch CUDA (pip's own)
#   HOLD         packages that `make upgrade` must not move, e.g. "torch==2.13.0"
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
HOLD ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DRAWS := $(VENV)/.draws
CLUSTER := $(VENV)/.cluster
SITE := $(VENV)/.docs
PIP := $(BIN)/python -m pip --disable-pip-version-check
PARALLEL := --numprocesses auto --dist worksteal
# Bytecode is kept (`make clean` removes it) even where the environment says otherwise: each worker, and each process that
# tests start, would compile all of it anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.PHONY: help demo demo-all setup renderer test check slow gpu docs dist oldest upgrade clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

demo: setup ## practise on an unseen connector from the base that comes with lotj, evaluate, report
	$(BIN)/lotj demo

demo-all: setup ## the whole job from nothing, small: collect, pretrain, and then the same
	$(BIN)/lotj demo --all

setup: $(INSTALLED) $(DRAWS) ## virtual environment, packages and renderer; costs nothing the second time

renderer: $(INSTALLED) ## find an off-screen renderer; install one if there is none (as root)
	@sh scripts/setup_renderer.sh $(BIN)/python
	@touch $(DRAWS)

test: setup ## fast tests
	$(PYTEST) $(PARALLEL)

check: setup ## ruff, pyright and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(PYTEST) $(PARALLEL)

slow: setup $(CLUSTER) $(SITE) ## the small end-to-end tests
	$(PYTEST) -m slow

gpu: setup ## the tests that need a GPU
	$(PYTEST) -m gpu

docs: setup $(SITE) ## the documentation as a site that works offline: build/docs/index.html
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html -c docs . build/docs
	@echo "build/docs/index.html"

dist: $(INSTALLED) ## the wheel of a release: dist/
	rm -rf build/lib build/bdist.* dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls -lh dist

oldest: ## the fast tests with the oldest versions that pyproject.toml allows, in .venv-oldest
	@sh scripts/setup_venv.sh $(PYTHON) .venv-oldest
	@sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml > .venv-oldest/least.txt
	@$(if $(TORCH_INDEX),.venv-oldest/bin/python -m pip install -q -c .venv-oldest/least.txt --index-url $(TORCH_INDEX) torch)
	@.venv-oldest/bin/python -m pip install -q -c .venv-oldest/least.txt -e . hypothesis pytest pytest-xdist
	.venv-oldest/bin/python -m pytest $(PARALLEL)

upgrade: $(INSTALLED) ## newest versions of everything: writes constraints.txt anew
	$(BIN)/python scripts/pin_versions.py constraints.txt $(HOLD)
	@echo "constraints.txt is new; 'make clean test' tries it"

clean: ## remove the virtual environment and caches; data and runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist docs/reference src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@sh scripts/setup_venv.sh $(PYTHON) $(VENV)
	@echo "installing the packages into $(VENV) (some minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt setuptools
	@$(if $(TORCH_INDEX),$(PIP) install --quiet --constraint constraints.txt --no-deps --index-url $(TORCH_INDEX) torch)
	@$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

$(DRAWS): $(INSTALLED)
	@sh scripts/setup_renderer.sh $(BIN)/python
	@touch $@

$(CLUSTER): $(INSTALLED)
	@$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[cluster]'
	@touch $@

$(SITE): $(INSTALLED)
	@$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	@touch $@
