# `make repro` and `make test` are all that a fresh clone needs; `make` alone lists every target.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .scratch/peers

# Stages call plain `python`: for every command below that is the environment's.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH        := $(VIRTUAL_ENV)/bin:$(PATH)
unexport PYTHONHOME
# MLflow and the Hugging Face libraries send no usage statistics (DVC: see .dvc/config).
export DO_NOT_TRACK ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env repro test test-integration test-all fmt preset ui bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## make .venv with the versions of constraints.txt (redone when they change; PYTHON=... picks one)

# The first interpreter that is new enough: some distributions keep an old python3 beside a newer python3.x.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" 2>/dev/null; then \
	  for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14); do \
	    if "$$python" -c "$$new_enough" 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "make env: needs Python >= 3.11, and $(or $(PYTHON),python3) is" \
	      "$$($(or $(PYTHON),python3) --version 2>/dev/null || echo missing):" \
	      "install a newer one, or name it: make env PYTHON=/path/to/python3" >&2; exit 1; \
	  fi; \
	  "$$found" -m venv --clear $(VENV) || { rm -rf $(VENV); \
	    echo "make env: '$$found -m venv' failed: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }; \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@# pip would compile the libraries on one core. Some bring files that are no Python, which is no error.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

repro: env ## run the pipeline; stages whose inputs have not changed are skipped
	@$(BIN)/python -m pipeline.process.mend
	@$(BIN)/python -m pipeline.commands.quick_dvc repro

# One process more than there are cores, because tests also wait: for servers, queues and time limits.
WORKERS = $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

test: env ## lint, check the format, run the tests (WORKERS=...: in so many processes)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYTHONPATH=src:. $(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PICKED)

test-integration: ## the tests of whole pipelines, browsers and launchers, which CI runs after `make test`
	@$(MAKE) --no-print-directory test PICKED="-m 'integration and not exhaustive'"

test-all: ## all tests, with the exhaustive ones (docs/tests.md)
	@$(MAKE) --no-print-directory test PICKED="-m '' --hypothesis-profile=default"

fmt: env ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

preset: env ## apply presets/NAME.yaml to params.yaml: make preset NAME=... (without NAME: list them)
	@$(BIN)/python -m pipeline.commands.preset $(or $(NAME),--list)

ui: env ## browse the runs of mlflow.db (PORT=5000)
	@$(BIN)/python -m pipeline.commands.ui --port $(or $(PORT),5000)

bench: env $(PEERS)/.installed ## measure speed against other toolkits (OPTIONS='--quick': a smoke run; benchmarks/README.md)
	@$(BIN)/python -m benchmarks.bench --peers $(PEERS)/bin/python $(OPTIONS)

# An environment of the peers' own, with the project's versions of what both use.
$(PEERS)/.installed: benchmarks/requirements-peers.txt constraints.txt | env
	$(BIN)/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -r $<
	@touch $@

clean: ## delete .scratch (checkpoints of interrupted stages, the peers of `make bench`) and caches of the tools
	@# What MLflow has not got yet stays: it is in no other place.
	[ ! -d .scratch ] || find .scratch -mindepth 1 -maxdepth 1 ! -name tracking -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find benchmarks pipeline src tests -name __pycache__ -type d -prune -exec rm -rf {} +
