# Every target makes what it needs by itself: only Python (3.10 or newer) and make are taken for granted.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEEDS ?= 20000

.PHONY: help demo test test-versions lint bench simulate fault-matrix clean
help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	touch $(READY)

demo: $(READY) ## Train offline, replay to a real MLflow server twice, compare
	$(BIN)/python -m demo

test: $(READY) ## Run the tests (makes a venv with a real MLflow server)
	$(BIN)/python -m pytest -q

lint: $(READY) ## Check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## Measure, each number beside its yardstick in the same run
	$(BIN)/python -m bench

simulate: $(READY) ## Run the seeded simulator: make simulate SEEDS=100000
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

fault-matrix: $(READY) ## Every kind of request times every fault, all of it (minutes)
	$(BIN)/python -m tests.simulation.matrix

clean: ## Remove what the targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
