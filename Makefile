# `make help` lists the targets. Each sets up what it needs: a virtual environment in .venv, with the versions of
# constraints.txt. A second run finds the stamp and starts at once.

PYTHON ?= python3
VENV   ?= .venv
# Two workers fit the smallest machine; more than eight mostly cost memory.
# Without OMP_NUM_THREADS, which nproc would tell in place of the cores.
JOBS   ?= $(shell n=$$(env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2); [ $$n -gt 8 ] && n=8; echo $$n)

BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all bench tables lint format types sizes ci clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## the virtual environment, and ssmc in it (editable)

# The interpreter is asked for its version first: a syntax error deep in a build says nothing to anybody.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "ssmc needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "no virtual environment: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) (the first time takes some minutes: torch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## compile and explain a spec, run another over recorded data, draw it into demo-out/
	@$(BIN)/python examples/demo.py --out demo-out

test: $(STAMP) ## the fast tests
	$(PYTEST) -m "not slow"

test-all: $(STAMP) ## every test, the slow ones too
	$(PYTEST)

# The peers' packages are optional: without `pip install -e '.[bench]'` those that need them are left out.
bench: $(STAMP) ## how fast it is, beside other implementations (half an hour; benchmarks/README.md)
	@mkdir -p benchmarks/results
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.calls
	$(BIN)/python -m benchmarks.mamba --only memory
	-$(BIN)/python -m benchmarks.memory
	-$(BIN)/python -m benchmarks.length
	$(BIN)/python -m benchmarks.peers --json benchmarks/results/peers.json --picture benchmarks/results/peers.svg

tables: $(STAMP) ## grammar/tables.json, after a change of the grammar
	PYTHONHASHSEED=0 $(BIN)/python scripts/write_tables.py

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff format and repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/python scripts/check_types.py

sizes: $(STAMP) ## the size of each source file, and who imports whom
	$(BIN)/python scripts/sizes.py
	$(BIN)/python scripts/import_graph.py

ci: ## what the continuous integration runs
	.ci/run

clean: ## remove what was built (not .venv)
	rm -rf build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
